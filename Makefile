# The two commands of the README, and what they are made of. Everything installs into .venv, from hash-locked lists.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: demo test test-docker check fast web check-web bench lock docs screenshots clean

## demo: install, get the engine, draw four pictures through a server, stop it all
demo: $(VENV)/.runtime
	@$(BIN)/tsr demo

## test: everything that runs without Docker
test: check check-web $(VENV)/.tools
	$(BIN)/python -m pytest

## test-docker: containers with a real engine in a Docker engine of the tests' own; takes root on Debian or Ubuntu
test-docker: $(VENV)/.test
	$(BIN)/python -m pytest -m docker tests/docker

## fast: the tests that need neither a real engine, nor Docker Compose, nor a browser, nor PyTorch
fast: $(VENV)/.test
	$(BIN)/python -m pytest -m "not engine and not compose and not browser and not tools"

## check: style and types
check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## web: build the page from web/ into tensors/page, which is committed; needs Node.js 20.19 or newer
web: web/node_modules/.installed $(VENV)/.runtime
	@$(BIN)/python -m tools.openapi > web/node_modules/.openapi.json
	@npm --prefix web run --silent types -- --output src/api/schema.d.ts
	@npm --prefix web run --silent build

## check-web: style, types and tests of the page, and whether what is committed is made from the API and from web/ as they are
NODE_IS_NEW := $(shell node -e 'const [a, b] = process.versions.node.split("."); console.log(a > 20 || (a == 20 && b >= 19) ? 1 : "")' 2>/dev/null)
check-web: $(if $(NODE_IS_NEW),web/node_modules/.installed) $(VENV)/.runtime
ifeq ($(NODE_IS_NEW),)
	@echo "THE PAGE'S OWN CHECKS WERE NOT RUN: they need Node.js 20.19 or newer. Those in a browser are run all the same."
else
	@$(BIN)/python -m tools.openapi > web/node_modules/.openapi.json
	@npm --prefix web run --silent types -- --output node_modules/.schema.d.ts 2>/dev/null
	@diff web/node_modules/.schema.d.ts web/src/api/schema.d.ts || (echo "web/src/api/schema.d.ts is not of the API as it is: make web" && false)
	@npm --prefix web run --silent lint
	@npm --prefix web run --silent check
	@npm --prefix web run --silent test
	@npm --prefix web run --silent build -- --outDir node_modules/.page --emptyOutDir --logLevel warn
	@diff -r web/node_modules/.page tensors/page || (echo "tensors/page is not built from web/ as it is: make web" && false)
endif

web/node_modules/.installed: web/package-lock.json
	@echo "Installing what the page is built with ..."
	@npm --prefix web ci --loglevel error --no-audit --no-fund
	@touch $@

## bench: the figures of benchmarks/README.md, measured now
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.listeners
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.hashing
	$(BIN)/python -m benchmarks.scan
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.gallery
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.download

## docs: write the generated parts of docs/
docs: $(VENV)/.test
	$(BIN)/python -m tools.cli_reference

## screenshots: photograph the page for the docs, with the real engine and Chromium
screenshots: $(VENV)/.test
	$(BIN)/python -m tools.screenshots

## lock: resolve the ranges of pyproject.toml into hashed lists; requirements/tools.txt is kept by hand for PyTorch's sake
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: $(VENV)/.test
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) --upgrade pyproject.toml --group build --output-file requirements/runtime.txt
	$(LOCK) --upgrade pyproject.toml --group build --group test --group lint --output-file requirements/test.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@echo "Making $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tsr needs Python 3.11 or newer, and this is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing tsr into $(VENV) (about a minute the first time) ..."
	@$(PIP) -r requirements/runtime.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.runtime
	@echo "Installing what the tests need ..."
	@$(PIP) -r requirements/test.txt
	@touch $@

# The lock knows one build of PyTorch, for CPUs: the usual one for Linux brings gigabytes of CUDA. Where it is not to be had,
# the tests of the training program say that they are skipped, and why.
$(VENV)/.tools: requirements/tools.txt $(VENV)/.test
	@echo "Installing PyTorch's CPU build for the tests of the training program ..."
	@$(PIP) --no-deps -r requirements/tools.txt || echo "PyTorch's CPU build is not to be had here."
	@touch $@
