# What it takes: Python >= 3.11 and make. Everything else is installed into .venv.

PYTHON ?= $(firstword $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p; done))
BIN := .venv/bin
ONCE ?=
JOBS ?= 3

.PHONY: help run test check bench storm lock clean

help: ## Show what there is.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: .venv/run ## Start everything, send sample traffic, kill a worker, show what happens. ONCE=1 ends by itself.
	@$(BIN)/acgs dev --sample --kill $(if $(ONCE),--once)

test: .venv/dev ## Install what the tests need and run them, JOBS (3) files at a time, each with a broker of its own.
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: .venv/dev ## Lint, formatting, types, import rules, generated documents.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m streams.reference --check docs/reference

bench: .venv/run ## Run the benches on an embedded Kafka.
	$(BIN)/acgs bench all

storm: .venv/dev ## The long form of the reliability tests: ACGS_STORM_MINUTES (20), then ACGS_STORM_SAGAS (12000).
	$(BIN)/pytest -m storm tests/reliability

lock: .venv/dev ## Pin the dependencies anew.
	$(BIN)/pip-compile -q --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-header -o requirements/run.txt pyproject.toml requirements/build.in
	$(BIN)/pip-compile -q --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-header -o requirements/dev.txt requirements/dev.in

clean: ## Remove what make made. Stop a running `make run` first.
	rm -rf .venv .run dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "acgs-streams needs Python 3.11 or later; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python requirements/run.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev: .venv/run requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
