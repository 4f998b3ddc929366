# Everything a clone needs. `make demo` and `make test` work on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/demo
EXTRAS ?= pipelines,dev
# The small CPU build of torch, where an index offers it: PIP_TORCH="--index-url https://download.pytorch.org/whl/cpu"
PIP_TORCH ?=
PY = $(VENV)/bin/python
PIP = $(PY) -m pip --disable-pip-version-check -q
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: help install demo test check format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(VENV)/.installed  ## the environment, with exact versions

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: set PYTHON")'
	@echo "installing into $(VENV) (some minutes the first time)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PIP) install $(PIP_TORCH) -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

demo: install  ## records, a tiny reference, then the whole DAG on this machine
	@$(PY) -m examples.demo --out $(RUN)/data
	@$(PY) -m pipelines run align --recipe pipelines/recipes/demo.yaml --on local --root $(RUN)

test: install  ## all tests that need no container, cluster or GPU
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile tests

check: install  ## lint, format, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: install  ## rewrite what the formatter would
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:  ## remove runs and caches, not the environment
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache
