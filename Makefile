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

.PHONY: help install demo test check format base-image wheels image kind-up kind-test kind-down clean

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

# Containers: docker where there is one, else podman; no registry is needed with BASE=localhost/copg-base:bookworm.
ENGINE ?= $(shell command -v podman >/dev/null && echo podman || echo docker)
BASE ?= docker.io/library/python:3.11-slim-bookworm
IMAGE ?= localhost/copg:0.1.0
TARGET ?= cpu

base-image:  ## a Debian base with Python 3.11, without any registry (root)
	rm -rf build/base && mkdir -p build
	debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm build/base >build/debootstrap.log
	tar -C build/base -c . | $(ENGINE) import - localhost/copg-base:bookworm
	rm -rf build/base

wheels: install  ## everything an image needs, made outside of it
	rm -rf build/wheels/$(TARGET)
	$(PIP) wheel -c constraints.txt -w build/wheels/$(TARGET) . cyclonedx-bom
	$(PIP) wheel --no-deps -c constraints.txt -w build/wheels/$(TARGET) kfp

image: wheels  ## the image of the tasks (BASE, IMAGE, TARGET)
	$(ENGINE) build -f Containerfile --target $(TARGET) --build-arg BASE=$(BASE) --build-arg VERSION=$(lastword $(subst :, ,$(IMAGE))) \
		--build-arg REVISION=$$(git rev-parse HEAD) -t $(IMAGE) .

kind-up:  ## a cluster of kind with KFP, our image and our manifests (IMAGE, ENGINE)
	ENGINE=$(ENGINE) IMAGE=$(IMAGE) manifests/kind.sh up

kind-test: install  ## the tests of a cluster, on that of kind
	PYTHON=$(PY) manifests/kind.sh test

kind-down:  ## remove it
	ENGINE=$(ENGINE) manifests/kind.sh down

clean:  ## remove runs and caches, not the environment
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache
