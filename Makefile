# Thin: each target calls the `roomcast` command or pytest. Python 3.11+ and make are all that `up` and `test` ask for.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make requirements"
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# make's own job server and flags mean nothing to the programs started below.
unexport MAKEFLAGS MFLAGS

.PHONY: help up test check bench format requirements clean
help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: .venv/.local .venv/.cloud  ## the whole service on this machine, until Ctrl-C
	@exec $(BIN)/roomcast up $(ARGS)

test: .venv/.dev .venv/.cloud  ## the default tests
	@exec $(BIN)/python -m pytest $(ARGS)

check: .venv/.dev  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.local .venv/.cloud  ## the benchmarks: some five minutes, tables, and .build/bench.json
	@exec $(BIN)/python -m loadtest.bench $(ARGS)

format: .venv/.dev  ## rewrite the code as `check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

requirements:  ## compile requirements/ anew from pyproject.toml (asks for uv)
	$(COMPILE) pyproject.toml -o requirements/lambda.txt
	$(COMPILE) pyproject.toml --group local -o requirements/local.txt
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(COMPILE) --group cloud -o requirements/cloud.txt

clean:  ## remove what the other targets made
	rm -rf .venv .build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache roomcast.egg-info

.venv/.python:
	@test -n "$(PYTHON)" || { echo "roomcast needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

.venv/.local: .venv/.python requirements/local.txt pyproject.toml
	@echo "installing into .venv ..." >&2
	@$(PIP) install --require-hashes -r requirements/local.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.local requirements/dev.txt
	@echo "installing what the tests need ..." >&2
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

.venv/.cloud: .venv/.python requirements/cloud.txt
	@echo "installing the emulator into .venv/cloud ..." >&2
	@$(PYTHON) -m venv .venv/cloud
	@.venv/cloud/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/cloud.txt
	@touch $@
