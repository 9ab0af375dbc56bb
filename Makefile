# make test   installs what the tests need (Debian or Ubuntu) and runs them all
# make lint   format, clippy, protobuf and Python checks
# make instructions  counts the instructions of the hot pieces and compares with the baseline; busy machines will do
# make demo   the main job on a fresh machine
# make bench  the benchmark figures
# make bench-micro  the hot pieces by the clock
# make bench-quota  half an hour of rate limits and faults, as the simulated upstream saw it
# make soak   up to an hour of faults, and the table of what became of it

.PHONY: setup test lint instructions demo bench bench-micro bench-quota soak stubs

VENV   := .tools/venv/bin
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

setup:
	scripts/setup

test: setup
	cargo test --locked
	TIDINGS_BIN=$(TARGET)/debug/tidings $(VENV)/python -m pytest clients/python

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	.tools/bin/buf lint
	$(VENV)/python clients/python/generate --check
	cd clients/python && $(abspath $(VENV))/python -m mypy

instructions: setup
	scripts/count-instructions

# Writes the Python client's generated modules anew, after a change of proto/.
stubs: setup
	$(VENV)/python clients/python/generate

demo:
	cargo run --locked --release -- demo

bench: setup
	scripts/bench

bench-micro:
	cargo bench --locked --bench micro

bench-quota: setup
	scripts/bench-quota

soak: setup
	scripts/soak
