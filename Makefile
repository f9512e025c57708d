# accelmark: `make bench` measures this machine and writes a report, `make test` checks the project. `make help` lists all.
# A bare machine needs Python 3.11 or later with venv, and make. Every environment is a folder .venv* made here by pip.

comma := ,
PYTHON ?= python3
BACKEND ?= cpu
ARGS ?=
SHELL := /bin/sh
PIP := -m pip install --quiet --disable-pip-version-check --no-warn-script-location -c constraints.txt

# Backends whose engines come from the package index bring an extra of their name; the others are only looked for.
EXTRA := $(if $(filter cpu cuda tpu edgetpu asic,$(BACKEND)),[$(BACKEND)$(comma)techniques])
VENV := .venv$(if $(filter-out cpu,$(BACKEND)),-$(BACKEND))
RUN := $(VENV)/bin/python
TEST := .venv/bin/python
TORCH := .venv-torch/bin/python
TARGETS := .venv-targets/bin/python
SOURCES := backends bench results tests workloads conftest.py

.DEFAULT_GOAL := help
.PHONY: help setup setup-torch setup-targets bench test test-torch test-tpu test-edge test-asic lint browser graphs techniques selfcheck overhead scale clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo "  options: BACKEND=cuda (its own environment), ARGS='--profile=standard -k mobilenet', PYTHON=python3.12"

setup: .venv/.test  ## only make .venv, for work on anything but a workload

setup-torch: .venv-torch/.test  ## only make .venv-torch, for work on a workload

setup-targets: .venv-targets/.test  ## only make .venv-targets, for work on hardware that is not here

bench: $(VENV)/.bench  ## set up, measure BACKEND (default cpu), write results/report.html and print its path
	@status=0; \
	$(RUN) -m pytest bench/ --backend=$(BACKEND) $(ARGS) || status=$$?; \
	$(RUN) -m bench.cli report || { code=$$?; [ $$status -ne 0 ] || status=$$code; }; \
	exit $$status

test: .venv/.test browser  ## set up, then lint, types and every test that needs no torch
	@$(MAKE) --no-print-directory lint
	$(TEST) -m pytest -m 'not (torch or tpu or edge or asic)' $(ARGS)

test-torch: .venv-torch/.test  ## the tests that need torch, and the graphs rebuilt and compared with the committed ones
	$(TORCH) -m pytest -m torch $(ARGS)
	$(TORCH) -m workloads.rebuild --check

test-tpu: .venv-targets/.test  ## the tests that need JAX and the TPU compiler
	CI=true $(TARGETS) -m pytest -m tpu $(ARGS)

test-edge: .venv-targets/.test  ## the tests that need LiteRT and its quantizer
	CI=true $(TARGETS) -m pytest -m edge $(ARGS)

test-asic: .venv-targets/.test  ## the tests that need Vela or another vendor's compiler
	CI=true $(TARGETS) -m pytest -m asic $(ARGS)

lint: .venv/.test  ## ruff and mypy --strict
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/ruff format --check $(SOURCES)
	.venv/bin/mypy

graphs: .venv-torch/.test  ## export every network again to workloads/graphs/
	$(TORCH) -m workloads.rebuild

techniques: .venv-torch/.test  ## train again what techniques ship, and write it to workloads/graphs/ (20 minutes)
	$(TORCH) -m workloads.retrain $(ARGS)

selfcheck: .venv/.test  ## benchmark: clock, overhead, agreement with a bare loop, LoadGen and benchmark_app
	$(TEST) -m bench.cli selfcheck $(ARGS)

overhead: .venv/.test  ## benchmark: the harness's own cost per sample, in time and memory
	$(TEST) -m bench.overhead

scale: .venv/.test  ## benchmark: the report over 100,000 records
	$(TEST) -m bench.scale

clean:  ## remove environments and caches; results/runs stays
	rm -rf .venv* .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks *.egg-info

# $(call environment,FOLDER,EXTRAS): a virtual environment. The stamp file spares a second run the network.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "accelmark needs Python 3.11 or later; name one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module; install it, on Debian: apt-get install python3-venv" >&2; exit 2; }
	@echo "setting up $(1) (once; needs the package index)"
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python $(PIP) -e '.$(2)' || \
		{ echo "setting up $(1) failed: see pip's message above; run the same command again once it is mended" >&2; exit 2; }
	@touch $@
endef

$(VENV)/.bench: pyproject.toml constraints.txt
	$(call environment,$(VENV),$(EXTRA))

.venv/.test: pyproject.toml constraints.txt
	$(call environment,.venv,[cpu$(comma)techniques$(comma)test])

.venv-torch/.test: pyproject.toml constraints.txt
	$(call environment,.venv-torch,[cpu$(comma)graphs$(comma)hf$(comma)test$(comma)torch])

.venv-targets/.test: pyproject.toml constraints.txt
	$(call environment,.venv-targets,[cpu$(comma)tpu$(comma)edgetpu$(comma)asic$(comma)qualcomm$(comma)test])


# The page is tested in a real browser. Without one those tests are skipped, except in CI, where that would hide a hole.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null 2>&1 && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "installing Chromium for the browser tests"; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y chromium; } >/dev/null 2>&1 || true; \
	fi; \
	command -v chromium >/dev/null 2>&1 && exit 0; \
	[ "$$CI" != true ] || { echo "no Chromium and none could be installed: the browser tests would not run" >&2; exit 1; }; \
	echo "no Chromium here: the browser tests will be skipped (as root on Debian: apt-get install chromium)"
