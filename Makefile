# The two commands of the README, and what they are made of. Everything installs into .venv, from hash-locked lists.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: demo test test-docker check fast bench lock docs clean

## demo: install, get the engine, draw four pictures through a server, stop it all
demo: $(VENV)/.runtime
	@$(BIN)/tsr demo

## test: everything that runs without Docker
test: check $(VENV)/.tools
	$(BIN)/python -m pytest

## test-docker: containers with a real engine in a Docker engine of the tests' own; takes root on Debian or Ubuntu
test-docker: $(VENV)/.test
	$(BIN)/python -m pytest -m docker tests/docker

## fast: the tests that need neither a real engine, nor Docker Compose, nor PyTorch
fast: $(VENV)/.test
	$(BIN)/python -m pytest -m "not engine and not compose and not tools"

## check: style and types
check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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
	$(BIN)/python -m benchmarks.download

## docs: write the generated parts of docs/
docs: $(VENV)/.test
	$(BIN)/python -m tools.cli_reference

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
