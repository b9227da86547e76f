# Everything sets itself up: a clone, python3 (3.11 or later, with venv) and make are enough.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(BIN)/python
PIP := $(PY) -m pip -qq --disable-pip-version-check
PYTEST_ARGS ?=
# Tests mostly wait: two processors serve six workers. A worker takes tests from one that lags.
PYTEST := $(PY) -m pytest -n 6 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test long soak mutants lint types check check-all coverage matrix faults bench bench-quick \
  docs error-messages how-to gen clean bare-system

.NOTPARALLEL:  # two pips would work on one environment

help:  ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# A stamp is newer than what it was made from: nothing is installed twice, and a changed
# pyproject.toml installs anew. The demo needs the package alone, the rest one group each.
# THRIFT=0.20 chooses the release of thrift (after `make clean`); without it, pip takes the latest.

$(VENV)/.python:
	@for python in "$${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then echo "setting up $(VENV) with $$("$$python" --version)"; \
	       "$$python" -m venv --clear $(VENV) && touch $@; exit; fi; done; \
	echo 'No python3 of version 3.11 or later with venv and ensurepip was found.' >&2; \
	echo 'Debian, Ubuntu: apt install python3-venv; or name one: make PYTHON=/path/to/python3' >&2; exit 1

$(VENV)/.package: pyproject.toml setup.py thrift_client/_version.py $(VENV)/.python
	@$(PIP) install 'pip>=25.1'  # the first that knows dependency groups
	@$(PIP) install --editable . $(if $(THRIFT),'thrift==$(THRIFT).*')
	@touch $@

$(VENV)/.extras: $(VENV)/.package
	@$(PIP) install --editable '.[all]'
	@touch $@

$(VENV)/.%: $(VENV)/.extras
	@$(PIP) install --group $*
	@touch $@

demo: $(VENV)/.package  ## the README's story against four real servers
	@$(PY) demo/demo.py

test: $(VENV)/.test  ## the tests, in minutes (PYTEST_ARGS='-k name' for some of them)
	@$(PYTEST) $(PYTEST_ARGS)

long: $(VENV)/.test  ## the tests that take many seconds each
	@$(PYTEST) -m long --timeout 600 $(PYTEST_ARGS)

# One malloc arena: with one for each thread the C library keeps ever more of what was freed, which
# would hide whether the process grows by itself.
soak: $(VENV)/.test  ## the tests that take minutes to an hour each
	@MALLOC_ARENA_MAX=1 $(PY) -m pytest -m soak --timeout 3600 $(PYTEST_ARGS)

# Without what macOS and Windows lack; the folder must be known to Python before anything else.
bare-system: $(VENV)/.test  ## the tests of the clients, as on a system that has none of Linux's own
	@PYTHONPATH='$(CURDIR)/test/bare_system' $(PYTEST) --bare-system $(BARE) $(PYTEST_ARGS)

BARE := test/client test/bulk test/balance test/discovery test/aio test/policy test/idl \
  test/observe test/testing test/bare_system \
  test/wire/test_tls.py test/faults/test_matrix_tls.py

mutants: $(VENV)/.test  ## check that the tests notice seeded mistakes (MUTANTS='name …' for some)
	@$(PY) test/mutants/run.py $(MUTANTS)

lint: $(VENV)/.lint  ## ruff, and the syntax of the workflows
	@$(BIN)/ruff check .
	@$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows $(WORKFLOWS)
	@$(BIN)/check-jsonschema -q --builtin-schema custom.github-workflows-require-timeout $(WORKFLOWS)

types: $(VENV)/.lint  ## mypy --strict on the package
	@$(BIN)/mypy

check: lint types test  ## what has to pass before a change is proposed

check-all: $(VENV)/.nox  ## check on every Python with every thrift, and everything that takes long
	@$(VENV)/bin/nox
	@$(MAKE) bare-system long mutants soak

coverage: $(VENV)/.test  ## the tests' branch coverage
	@$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

matrix: $(VENV)/.test  ## every client option against every kind of server
	@$(PY) test/wire/matrix.py $(PYTEST_ARGS)

faults: $(VENV)/.test  ## every fault that a network or a server can have
	@$(PY) -m pytest test/faults test/policy --fault-matrix docs/generated/fault-matrix.md $(PYTEST_ARGS)

bench: $(VENV)/.bench  ## bench/results.md and its plots
	@$(PY) -m bench.run

bench-quick: $(VENV)/.bench  ## the same in less than a minute, to the terminal
	@$(PY) -m bench.run --quick

docs: $(VENV)/.docs  ## docs/_build/html, warnings are errors
	@$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html

error-messages: $(VENV)/.package  ## docs/reference/error-messages.md, from the source
	@$(PY) docs/error_messages.py

how-to: $(VENV)/.test  ## what a page's examples need, and Python or a shell (PAGE=tls)
	@$(PY) docs/how_to.py '$(PAGE)'

gen:  ## test/gen-py from the IDL, with the thrift compiler
	@sh test/gen.sh

clean:  ## everything that is not in git's care
	@rm -rf $(VENV) .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* \
	  htmlcov build dist docs/_build *.egg-info
	@find . -name __pycache__ -prune -exec rm -rf {} +

WORKFLOWS := $(wildcard .github/workflows/*.yml)

.PHONY: build wheel-check

build: $(VENV)/.build  ## dist/: the sdist, and the wheel that is built from it
	@rm -rf build dist
	@$(PY) -m build --outdir dist .

wheel-check: build  ## build, then check what is in them and what PyPI would refuse
	@$(PY) -m twine check --strict dist/*
	@$(BIN)/check-wheel-contents dist/*.whl

# As every Python does from 3.15 on: on Windows, older ones read text in another encoding.
export PYTHONUTF8 := 1
# The tests start hundreds of Pythons, each of which would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=
