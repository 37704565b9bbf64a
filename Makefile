# Everything from a bare clone. Needs Linux, Python >= 3.11, make, a C compiler, and cargo for the tokenizer.

PYTHON ?= python3
PYTHON_OK := $(shell $(PYTHON) -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null)
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := .venv/bin/
SOURCES := pyproject.toml uv.lock rustbpe/pyproject.toml rustbpe/Cargo.toml rustbpe/Cargo.lock \
	$(shell find rustbpe/src -name '*.rs')
OUT ?= runs/demo
TESTS ?= tests

export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format test-launch test-kernels bench bench-outer bench-energy bench-bpe fuzz-bpe bench-loader bench-dashboard bench-decisions faults chaos compat docs gpu gpu-kernels gpu-train gpu-outer browser test-system clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-15s %s\n", $$1, $$2}'

setup: .venv/.ready ## tools, environment, native build

demo: .venv/.ready ## a curtailment day at three sites, in minutes; the report is in runs/demo
	$(RUN)curtail demo --out $(OUT)

test: .venv/.ready ## all tests that need no GPU, no root and no browser
	cargo test --quiet --locked --manifest-path rustbpe/Cargo.toml
	$(RUN)pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not system and not hopper and not launch" $(TESTS)
	$(if $(filter tests,$(TESTS)),TRITON_INTERPRET=1 $(RUN)pytest -n 2 tests/kernels/interpreted)

test-launch: .venv/.ready ## sites started by real launchers in every way there is, and the examples; some ten minutes
	$(RUN)pytest -n 2 --dist loadfile --no-loadscope-reorder -m "launch and not system" $(TESTS)

test-kernels: .venv/.ready ## every launch of the kernels compiled for Hopper by two versions of Triton; no GPU needed
	$(RUN)pytest -m hopper tests/kernels/hopper

browser: ## Chromium, for the tests of the web chat and the dashboard; installed where this is root, else it says what to do
	@if command -v chromium || command -v google-chrome; then true; \
	elif test "$$(id -u)" = 0 && command -v apt-get >/dev/null; \
	then apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; \
	else echo "make browser: there is no chromium on PATH, and installing it takes root and apt-get;" \
		"install it (Debian: sudo apt-get install chromium; elsewhere google-chrome will do) and try again"; exit 2; fi

test-system: .venv/.ready ## tests of what needs root or a browser; skips, and says so, where there is neither
	@$(MAKE) --no-print-directory browser || echo "make test-system: the tests in a browser are skipped"
	$(RUN)pytest -m system $(TESTS)

check: .venv/.ready ## format, lint, types, layers
	$(RUN)ruff format --check
	$(RUN)ruff check
	$(RUN)basedpyright
	$(RUN)lint-imports
	cargo fmt --check --manifest-path rustbpe/Cargo.toml
	cargo clippy --quiet --locked --all-targets --manifest-path rustbpe/Cargo.toml -- -D warnings

format: .venv/.ready ## write the format that `check` wants
	$(RUN)ruff format
	$(RUN)ruff check --fix-only --quiet
	cargo fmt --manifest-path rustbpe/Cargo.toml

bench: .venv/.ready ## CPU benchmarks into benchmarks/results/
	$(RUN)python benchmarks/bench_demo.py

bench-outer: .venv/.ready ## the exchange over thin links, into benchmarks/results/; needs root for the links
	for what in bytes exchange stall overhead scale links streams thousand; do $(RUN)python benchmarks/bench_outer_$$what.py || exit 1; done

bench-energy: .venv/.ready ## policies beside the optimum, and how fast they decide; some 15 minutes
	$(RUN)python benchmarks/bench_energy.py

bench-bpe: .venv/.ready ## the tokenizer beside its peers, which come into an environment of their own; some 40 minutes
	$(RUN)python benchmarks/bench_bpe.py

fuzz-bpe: ## ten minutes of a fuzzer at the tokenizer; needs nightly Rust and cargo-fuzz
	cd rustbpe && for target in split learn encode load; do \
	  cargo +nightly fuzz run $$target -- -max_total_time=150 -max_len=512 || exit 1; done

bench-loader: .venv/.ready ## how fast nanochat's loader feeds; some 2 minutes
	$(RUN)python benchmarks/bench_loader.py

bench-dashboard: .venv/.ready ## how soon the dashboard shows what happens, in a real Chromium; some 2 minutes
	@$(MAKE) --no-print-directory browser
	PYTHONPATH=tests:tests/dashboard $(RUN)python benchmarks/bench_dashboard.py

bench-decisions: .venv/.ready ## from a decision to the store, and until ranks have left; some 5 minutes
	PYTHONPATH=tests $(RUN)python benchmarks/bench_decisions.py

faults: .venv/.ready ## the fault matrix, 20 plays each, into benchmarks/results/faults.json
	PYTHONPATH=tests $(RUN)python benchmarks/bench_faults.py

chaos: .venv/.ready ## ten minutes of faults of all kinds; the report is in runs/chaos
	PYTHONPATH=tests $(RUN)python benchmarks/bench_chaos.py

docs: .venv/.ready ## the documentation as a site, warnings as errors; into build/site
	$(RUN)python docs/site/generate.py
	NO_MKDOCS_2_WARNING=1 $(RUN)mkdocs build

compat: .venv/.ready ## tests with the oldest torch that is supported and with the newest, in environments of their own; 10 GB
	$(RUN)python benchmarks/compat.py --uv $(UV)

gpu: .venv/.ready ## tests and benchmarks that need CUDA; says so where there is none
	@if $(RUN)python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; \
	then $(RUN)pytest -m gpu $(TESTS) && $(MAKE) --no-print-directory gpu-kernels gpu-train gpu-outer; \
	else echo "make gpu: there is no CUDA device here, nothing was run"; fi

gpu-kernels: .venv/.ready ## the fused kernels beside torch's own on one GPU, right first, then fast, in 8 minutes; into benchmarks/results/
	$(RUN)python benchmarks/bench_gpu_kernels.py

gpu-train: .venv/.ready ## bf16 beside fp32, a d12's and a d20's speed, a d12's loss on one GPU, in 8 minutes; into benchmarks/results/
	@if $(RUN)python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; \
	then $(RUN)python benchmarks/bench_gpu_train.py --minutes 8; \
	else echo "make gpu-train: there is no CUDA device here, nothing was run"; fi

gpu-outer: .venv/.ready ## two sites on one GPU, with a join and a drain: what the exchange costs; into benchmarks/results/
	@if $(RUN)python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; \
	then $(RUN)python benchmarks/bench_outer_sites.py --device cuda --depth 12 --minutes 2 \
		--out benchmarks/results/outer_sites_gpu.json; \
	else echo "make gpu-outer: there is no CUDA device here, nothing was run"; fi

clean: ## remove the environment and what was built; runs are kept
	rm -rf .venv .tools rustbpe/target .pytest_cache .ruff_cache .hypothesis .import_linter_cache

.venv/.ready: $(SOURCES)
	@test "$(PYTHON_OK)" = True || { echo "$(PYTHON) is missing or older than 3.11;" \
		"install Python >= 3.11 or name it: make PYTHON=/path/to/python3.11"; exit 2; }
	@command -v cargo >/dev/null || { echo "cargo is missing; the tokenizer is built from Rust:" \
		"install it (rustup.rs, or your system's package cargo >= 1.88) and try again"; exit 2; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || { echo "a C compiler is missing; Rust links with it:" \
		"install gcc or clang (Debian: apt install gcc) and try again"; exit 2; }
	@command -v $(UV) >/dev/null || { $(PYTHON) -m venv .tools && .tools/bin/pip install --quiet 'uv>=0.5,<1'; }
	$(UV) sync --locked --quiet --python $(PYTHON)
	@touch $@
