# What takes minutes. Measured runs, which are no tests and take both cores: see benches/soak/main.rs
# and benches/speed/main.rs. And the image: see deploy/image/build.

# How long `make soak` runs, in minutes: `SOAK=2m make soak`.
SOAK ?= 10m

# Each connection is a file; thousands are open in an overload.
FILES = ulimit -n 20000 2>/dev/null || ulimit -n "$$(ulimit -Hn)"

# What `make bench` measures: `BENCH="--rows hot,miss --seconds 2" make bench`.
BENCH ?= --all

.PHONY: bench soak overload forgeries image

bench:
	benches/speed/run $(BENCH)

soak:
	$(FILES); cargo bench --bench soak -- --minutes $(SOAK:m=)

overload:
	$(FILES); cargo bench --bench soak -- --overload

forgeries:
	$(FILES); cargo bench --bench soak -- --forgeries

image:
	deploy/image/build
