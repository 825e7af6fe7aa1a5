# Measured runs, which are no tests: they take minutes and both cores. See benches/soak/main.rs.

# How long `make soak` runs, in minutes: `SOAK=2m make soak`.
SOAK ?= 10m

# Each connection is a file; thousands are open in an overload.
FILES = ulimit -n 20000 2>/dev/null || ulimit -n "$$(ulimit -Hn)"

.PHONY: soak overload forgeries

soak:
	$(FILES); cargo bench --bench soak -- --minutes $(SOAK:m=)

overload:
	$(FILES); cargo bench --bench soak -- --overload

forgeries:
	$(FILES); cargo bench --bench soak -- --forgeries
