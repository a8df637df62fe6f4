# make quickstart   install, train the default model on the built-in corpus, print what it writes
# make test         install the test extra and run the tests, on all cores
# make test-all     ... and the slow ones
# make lint         ruff and mypy
# make docs         write the page of each embedding anew, and build the site into site/
# make mutants      put known mistakes into the code and see the tests catch each
#
# Only Python 3.11+ and make are assumed. Another Python: make PYTHON=python3.13 quickstart

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUN := runs/quickstart

# On Linux PyPI's torch brings gigabytes of CUDA. Where there is no NVIDIA driver the CPU
# build is taken from PyTorch's own index, and where that does not answer, what pip finds
# elsewhere. `make TORCH_INDEX= quickstart` asks no other index.
TORCH_INDEX ?= $(shell test "$$(uname)" = Linux && ! command -v nvidia-smi >/dev/null && echo https://download.pytorch.org/whl/cpu)

# Without bytecode each worker, and each command that a test starts, compiles all code anew. pip
# would write it for all of torch, which takes longer than to unpack it: a first import does, for
# the third that it needs.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(PIP) install -qq --no-compile -c constraints.txt

# `make PYTHON=...` makes the environment; one of another version that is there would be used.
ifeq ($(origin PYTHON)$(filter help clean,$(MAKECMDGOALS)),command line)
ifneq ($(wildcard .venv/bin/python),)
version = $(shell $(1) -c 'import sys; print(sys.version_info[:2])')
ifneq ($(call version,$(PYTHON)),$(call version,.venv/bin/python))
$(error .venv has another Python than $(PYTHON): run make clean first)
endif
endif
endif

.PHONY: help install quickstart test test-all docs mutants lint clean

help:
	@sed -n 's/^# make/make/p' Makefile

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: wordorder needs Python 3.11 or newer, and $(PYTHON) is not: name one that is, as in make PYTHON=python3.13" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 2; }
	@$(INSTALL) --upgrade pip || echo "going on with Python's own pip, which is slower"

.venv/torch: constraints.txt | .venv/bin/python
	@echo "installing torch, the largest part"
ifneq ($(strip $(TORCH_INDEX)),)
	@$(INSTALL) --no-deps --timeout 10 --retries 1 --index-url $(TORCH_INDEX) torch || \
	  echo "$(TORCH_INDEX) did not give the CPU build: taking the one pip finds"
endif
	@$(INSTALL) torch
	@touch $@

.venv/wordorder: pyproject.toml .venv/torch
	@echo "installing wordorder"
	@$(INSTALL) -e .
	@touch $@

.venv/wordorder-test: pyproject.toml .venv/torch
	@echo "installing wordorder and what its tests need"
	@$(INSTALL) -e '.[test]'
	@touch .venv/wordorder $@

.venv/wordorder-docs: .venv/wordorder
	@echo "installing what the docs site needs"
	@$(INSTALL) -e '.[docs]'
	@touch $@

install: .venv/wordorder

quickstart: .venv/wordorder
	$(BIN)/wordorder train --out $(RUN) --overwrite
	$(BIN)/wordorder generate $(RUN) "This module"
	@echo "Go on: $(BIN)/wordorder generate $(RUN) 'your own beginning' · $(BIN)/wordorder eval $(RUN) · $(BIN)/wordorder --help"

# worksteal: a worker keeps to its files, so that what the tests of a file share is made once.
test: .venv/wordorder-test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-all: .venv/wordorder-test
	$(BIN)/python -m pytest -n auto --dist worksteal

docs: .venv/wordorder-docs
	$(BIN)/python docs/write_positions.py
	$(BIN)/python docs/write_claims.py
	$(BIN)/python docs/write_tables.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html, or serve it, which the search needs: $(BIN)/python -m http.server -d site"

mutants: .venv/wordorder-test
	$(BIN)/python tests/mutants.py

lint: .venv/wordorder-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist site src/*.egg-info
