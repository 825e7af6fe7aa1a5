# Commands that take minutes: measured runs (docs/measurements/README.md), which use all cores, and the
# container image (deploy/image/build).

# Duration of `make soak` in minutes: `SOAK=2m make soak`.
SOAK ?= 10m

# Each connection needs a file descriptor; the overload run opens thousands.
FILES = ulimit -n 20000 2>/dev/null || ulimit -n "$$(ulimit -Hn)"

# `CLUSTER=quick make cluster`: fewer customers and runs.
CLUSTER ?= full

# Flags of `make bench`: `BENCH="--rows hot,miss --seconds 2" make bench`.
BENCH ?= --all

.PHONY: bench soak overload forgeries cluster image

bench:
	benches/speed/run $(BENCH)

soak:
	$(FILES); cargo bench --bench soak -- --minutes $(SOAK:m=)

overload:
	$(FILES); cargo bench --bench soak -- --overload

forgeries:
	$(FILES); cargo bench --bench soak -- --forgeries

cluster:
	tests/shared/install; $(FILES); cargo test --locked --features shared,traces --bench soak -- --replicas $(CLUSTER)

image:
	deploy/image/build
