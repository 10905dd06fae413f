# Thin: each target calls the `roomcast` command or pytest. Python 3.11+ and make are all that `up` and `test` ask for.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make requirements"
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The functions' machine, as infra/settings.py has it.
TARGET := --architecture arm64 --python 3.13
STAGE := dev
CDK := .venv/cdk/node_modules/.bin/cdk
# The tests of the JavaScript client are skipped where npm is missing.
JS := $(if $(shell command -v npm),.venv/.js)
# And the page is a plain one.
PAGE := $(if $(shell command -v npm),.build/web/.built)
# A deployment has it on request.
ASKED_PAGE := $(if $(findstring page=true,$(ARGS)),$(PAGE))
BROWSER := $(if $(shell command -v npm),.venv/.browser)
ASYNCAPI := $(if $(shell command -v npm),.venv/.asyncapi)
# make's own job server and flags mean nothing to the programs started below.
unexport MAKEFLAGS MFLAGS
# What an old Node is warned of, is its owner's to decide: without these a page of it precedes whatever the CDK says.
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION = 20
export AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = true

.PHONY: help up test slow e2e simulate mutants fuzz chaos check js wheel page bench format synth bootstrap deploy destroy bundle asyncapi requirements clean
help:  ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: .venv/.local .venv/.cloud $(PAGE)  ## the whole service on this machine, until Ctrl-C
	@exec $(BIN)/roomcast up $(ARGS)

test: .venv/.dev .venv/.cloud .build/lambda/.deployed .build/lambda/.native $(JS) $(PAGE)  ## the default tests
	@exec $(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

slow: .venv/.dev .venv/.cloud .build/lambda/.deployed .build/lambda/.native $(JS) $(PAGE) $(BROWSER) $(ASYNCAPI)  ## tests that take longer, some seventeen minutes together
	@exec $(BIN)/python -m pytest -m 'slow and not large' $(ARGS)

e2e: .venv/.dev .venv/.cloud .venv/.cdk .build/lambda/.native  ## deploy the template to the emulator, and test what is deployed
	@exec $(BIN)/python -m pytest tests/deploy $(ARGS)

N := 20000
simulate: .venv/.dev  ## N=20000 schedules under faults, in virtual time; the first seed by ARGS="--first 20000"
	@exec $(BIN)/python -m tests.simulation run --schedules $(N) $(ARGS)

mutants: .venv/.dev  ## take away one safeguard after the other: the simulation must notice
	@exec $(BIN)/python -m tests.simulation mutants $(ARGS)

SECONDS := 60
fuzz: .venv/.dev  ## SECONDS=60 of odd inputs for each way into the service; one of them by ARGS="jobs --seed 2"
	@exec $(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

KILLS := 20
chaos: .venv/.dev .venv/.cloud  ## KILLS=20 processes killed under load, then an audit of all; a seed by ARGS="--seed 7"
	@exec $(BIN)/python -m tests.chaos --kills $(KILLS) $(ARGS)

check: .venv/.dev  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

js: .venv/.js  ## the JavaScript client: build it into client/js/dist, and test it (asks for Node 20)
	@rm -rf .venv/js/src .venv/js/test .venv/js/dist client/js/dist
	@cp -r client/js/src client/js/test client/js/tsconfig.json .venv/js
	@cd .venv/js && npm run --silent build && ROOMCAST_TRACES=$(CURDIR)/client/traces npm test --silent
	@cp -r .venv/js/dist client/js/dist

wheel: .venv/.local  ## the Python client for `pip install`: build its wheel into .build/wheel
	@exec $(BIN)/python -m ops.wheel

page: .build/web/.built  ## the chat in the browser, which `up` serves: build it into .build/web (asks for Node 20)

bench: .venv/.local .venv/.cloud  ## the benchmarks: some five minutes, tables, and .build/bench.json
	@exec $(BIN)/python -m loadtest.bench $(ARGS)

format: .venv/.dev  ## rewrite the code as `check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

synth: .venv/.infra .venv/.cdk .build/lambda/.deployed $(ASKED_PAGE)  ## the templates, in cdk.out/; STAGE=dev, settings by ARGS="-c NAME=VALUE"
	@exec $(CDK) synth --quiet -c stage=$(STAGE) $(ARGS)

bootstrap: .venv/.infra .venv/.cdk .build/lambda/.deployed  ## make an AWS account and Region ready for deployments, once
	@exec $(CDK) bootstrap $(ARGS)

deploy: .venv/.infra .venv/.cdk .build/lambda/.deployed $(ASKED_PAGE)  ## deploy STAGE=dev to AWS
	@exec $(CDK) deploy --all -c stage=$(STAGE) $(ARGS)

destroy: .venv/.infra .venv/.cdk .build/lambda/.deployed $(ASKED_PAGE)  ## delete STAGE=dev, with all it holds
	@exec $(CDK) destroy --all -c stage=$(STAGE) $(ARGS)

bundle: .venv/.infra  ## fetch the wheels that the functions carry; ARGS="--architecture A --python V" for another machine's
	@exec $(BIN)/python -m infra.packaging $(or $(ARGS),$(TARGET))

asyncapi: .venv/.dev  ## write docs/asyncapi.json, the wire as AsyncAPI has it, anew
	@exec $(BIN)/python -m ops.asyncapi

requirements:  ## compile requirements/ anew from pyproject.toml (asks for uv)
	$(COMPILE) pyproject.toml -o requirements/lambda.txt
	$(COMPILE) pyproject.toml --group local -o requirements/local.txt
	$(COMPILE) pyproject.toml --group infra -o requirements/infra.txt
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(COMPILE) --group cloud -o requirements/cloud.txt

clean:  ## remove what the other targets made
	rm -rf .venv .build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache roomcast.egg-info client/js/dist

.venv/.python:
	@test -n "$(PYTHON)" || { echo "roomcast needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

.venv/.local: .venv/.python requirements/local.txt pyproject.toml
	@echo "installing into .venv ..." >&2
	@$(PIP) install --require-hashes -r requirements/local.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.infra: .venv/.local requirements/infra.txt
	@echo "installing the CDK's constructs ..." >&2
	@$(PIP) install --require-hashes -r requirements/infra.txt
	@touch $@

.venv/.dev: .venv/.infra requirements/dev.txt
	@echo "installing what the tests need ..." >&2
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

.venv/.cloud: .venv/.python requirements/cloud.txt
	@echo "installing the emulator into .venv/cloud ..." >&2
	@$(PYTHON) -m venv .venv/cloud
	@.venv/cloud/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/cloud.txt
	@touch $@

# The CDK's command. Installed beside a copy of its two files, so that npm writes nothing into the tree.
.venv/.cdk: .venv/.python infra/package.json infra/package-lock.json
	@command -v npm >/dev/null || { echo "the CDK needs Node 20 or newer, with npm, on the PATH" >&2; exit 1; }
	@echo "installing the CDK's command into .venv/cdk ..." >&2
	@mkdir -p .venv/cdk && cp infra/package.json infra/package-lock.json .venv/cdk
	@cd .venv/cdk && npm ci --no-audit --no-fund --no-update-notifier --loglevel error >/dev/null
	@touch $@

# What builds and tests the JavaScript client, beside a copy as well.
.venv/.js: .venv/.python client/js/package.json client/js/package-lock.json
	@command -v npm >/dev/null || { echo "the JavaScript client needs Node 20 or newer, with npm, on the PATH" >&2; exit 1; }
	@echo "installing what builds the JavaScript client into .venv/js ..." >&2
	@mkdir -p .venv/js && cp client/js/package.json client/js/package-lock.json .venv/js
	@cd .venv/js && npm ci --no-audit --no-fund --no-update-notifier --loglevel error >/dev/null
	@touch $@

# What drives a browser in tests; the browser itself is the machine's own.
.venv/.browser: .venv/.python tests/e2e/browser/package.json tests/e2e/browser/package-lock.json
	@echo "installing what drives a browser into .venv/browser ..." >&2
	@mkdir -p .venv/browser && cp tests/e2e/browser/package.json tests/e2e/browser/package-lock.json .venv/browser
	@cd .venv/browser && npm ci --no-audit --no-fund --no-update-notifier --loglevel error >/dev/null
	@touch $@

# AsyncAPI's own parser, for the test of docs/asyncapi.json.
.venv/.asyncapi: .venv/.python tests/asyncapi/package.json tests/asyncapi/package-lock.json
	@echo "installing AsyncAPI's parser into .venv/asyncapi ..." >&2
	@mkdir -p .venv/asyncapi && cp tests/asyncapi/package.json tests/asyncapi/package-lock.json .venv/asyncapi
	@cd .venv/asyncapi && npm ci --no-audit --no-fund --no-update-notifier --loglevel error >/dev/null
	@touch $@

# Nobody goes without the service because its page can't be built.
.build/web/.built: .venv/.python $(wildcard web/*.json web/src/* client/js/src/*)
	@echo "building the page into .build/web ..." >&2
	@mkdir -p .venv/web .build/web && rm -rf .venv/web/src .venv/web/sdk .venv/web/dist
	@cp web/*.json .venv/web && cp -r web/src .venv/web/src && cp -r client/js/src .venv/web/sdk
	@cd .venv/web && npm ci --no-audit --no-fund --no-update-notifier --loglevel error >/dev/null && npm run --silent build \
		&& cp dist/* $(CURDIR)/.build/web/ && touch $(CURDIR)/$@ || echo "the page was not built: a plain one is shown" >&2

.build/lambda/.deployed: .venv/.infra requirements/lambda.txt infra/packaging.py
	@echo "fetching the functions' wheels ..." >&2
	@$(BIN)/python -m infra.packaging $(TARGET)
	@touch $@

.build/lambda/.native: .venv/.infra requirements/lambda.txt infra/packaging.py
	@echo "fetching the functions' wheels for this machine ..." >&2
	@$(BIN)/python -m infra.packaging --native
	@touch $@
