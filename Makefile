# Every target is documented by the comment after it: `make help` lists them.
# All Python tools live in .venv; cargo subcommands and the PyTorch reference in the user's cache.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pocket-tts-native
BIN := .venv/bin
INSTALLED := target/installed
STAGE := scripts/stage.sh
# The extension is the one crate that needs an interpreter around it: pytest tests it.
RUST_CRATES := --locked --workspace --exclude pocket-python

export PATH := $(PATH):$(CACHE)/tools/bin
# Extension modules take their Python symbols from the interpreter that loads them.
export PYO3_BUILD_EXTENSION_MODULE := 1
export VIRTUAL_ENV := $(CURDIR)/.venv
export PIP_QUIET := 1

.PHONY: help
help: ## Print this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

.venv/.complete: pyproject.toml scripts/venv.sh
	@$(STAGE) venv scripts/venv.sh

.PHONY: build
build: .venv/.complete ## Build the extension (release) into .venv
	@$(STAGE) build $(BIN)/maturin develop --release --locked --quiet

.venv/.wheel-tools: .venv/.complete
	@$(STAGE) wheel-tools $(BIN)/python -m pip install --group wheel
	@touch $@

.PHONY: wheel
wheel: .venv/.wheel-tools ## Build the wheel of this machine into dist/ and check it
	@$(STAGE) wheel scripts/wheel.sh

# The tests of `make check` see the wheel, not the tree: an environment with it and nothing of .venv.
.PHONY: installed
installed: wheel
	@$(STAGE) installed scripts/installed.sh $(INSTALLED)

.PHONY: speak
speak: build ## Speak a sentence into hello.wav (MODEL=, VOICE=, TEXT=, OUTPUT= choose others)
	scripts/speak.sh

.PHONY: reference
reference: ## Make the environment of the PyTorch reference once (5.6 GB, outside the tree)
	@$(STAGE) reference scripts/reference_env.sh

.PHONY: nextest deny
nextest:
	@$(STAGE) cargo-nextest scripts/cargo_tool.sh cargo-nextest
deny:
	@$(STAGE) cargo-deny scripts/cargo_tool.sh cargo-deny
	@$(STAGE) deny cargo deny --locked check licenses bans sources

.PHONY: stages-reset
stages-reset:
	@scripts/stages.sh reset

.PHONY: test
test: stages-reset test-rust test-python test-parity ## Run the whole suite: Rust, Python, parity with PyTorch
	@scripts/stages.sh report

.PHONY: test-rust
test-rust: nextest ## Run the Rust tests and the examples in the documentation
	@$(STAGE) rust-tests cargo nextest run $(RUST_CRATES)
	@$(STAGE) rust-doctests cargo test --quiet --doc $(RUST_CRATES)

.PHONY: test-python
test-python: installed ## Run the Python tests that need no PyTorch, on the installed wheel
	@$(STAGE) python-tests scripts/test_wheel.sh $(INSTALLED) -m "not parity and not long"

.PHONY: test-wheel
test-wheel: test-python ## The same

.PHONY: test-sdist
test-sdist: .venv/.complete ## Install the source distribution into a clean environment
	@$(STAGE) sdist-test scripts/test_sdist.sh

.PHONY: test-parity
test-parity: installed reference ## Compare with PyTorch
	@POCKET_REFERENCE_PYTHON="$$(scripts/reference_env.sh)" POCKET_TEST_CACHE="$(CACHE)/parity" \
		$(STAGE) parity-tests scripts/test_wheel.sh $(INSTALLED) -m "parity and not long"

.PHONY: test-long
test-long: stages-reset installed reference nextest ## Run the long sweeps
	@$(STAGE) rust-long cargo nextest run $(RUST_CRATES) --run-ignored only --no-tests pass
	@POCKET_REFERENCE_PYTHON="$$(scripts/reference_env.sh)" POCKET_TEST_CACHE="$(CACHE)/parity" \
		$(STAGE) python-long scripts/test_wheel.sh $(INSTALLED) -m long
	@scripts/stages.sh report

.PHONY: test-aarch64
test-aarch64: ## Run the kernel tests for aarch64, under emulation on other machines
	@$(STAGE) aarch64-tests scripts/test_aarch64.sh

.PHONY: test-x86-levels
test-x86-levels: ## Run the kernel tests with VNNI, AVX-512, BF16 and AMX, under emulation on other machines (slow, not in CI)
	@$(STAGE) x86-levels scripts/test_x86_levels.sh

.PHONY: lint
lint: installed ## Check formatting, lints, types, stubs and documentation
	@$(STAGE) fmt cargo fmt --all --check
	@$(STAGE) clippy cargo clippy --locked --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(STAGE) doc cargo doc --locked --workspace --no-deps --document-private-items
	@$(STAGE) ruff $(BIN)/ruff check
	@$(STAGE) ruff-format $(BIN)/ruff format --check
	@$(STAGE) mypy $(INSTALLED)/bin/mypy
	@$(STAGE) stubtest $(INSTALLED)/bin/python -m mypy.stubtest pocket_tts_native._native

.PHONY: test-aarch64-wheel
test-aarch64-wheel: .venv/.wheel-tools ## Build the wheel for aarch64 and run it, under emulation (slow, not in CI)
	@$(STAGE) aarch64-wheel scripts/test_aarch64_wheel.sh

.PHONY: check
check: test test-sdist lint deny test-aarch64 ## Run what CI runs

.PHONY: fmt
fmt: .venv/.complete ## Format Rust and Python
	cargo fmt --all
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

.PHONY: evaluate
evaluate: build ## Judge the embedded voice: word errors, endings, speakers (an hour of a core, not in CI)
	@$(STAGE) evaluate scripts/evaluate.sh

.PHONY: coverage
coverage: build nextest ## Measure line coverage of Rust and Python; both must reach 80 %
	scripts/coverage.sh

.PHONY: bench
bench: ## Run the benchmarks
	cargo bench --locked --manifest-path benches/Cargo.toml

.PHONY: clean
clean: ## Delete what this Makefile made inside the tree
	rm -rf target .venv dist coverage hello.wav .coverage .mypy_cache .pytest_cache .ruff_cache
	find python tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f python/pocket_tts_native/*.so
