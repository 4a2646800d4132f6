# make train and make test need git, make and Python 3.11 or newer, nothing else.
PYTHON ?= python3
BIN := .venv/bin

SCALE ?= tuned

.DEFAULT_GOAL := help
.PHONY: help train test test-all check docs gpu-check studies bench board optuna clean

help:                       ## list these targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' Makefile | \
	  while IFS='|' read -r target text; do printf '%-16s %s\n' "$$target" "$$text"; done

train: .venv/done           ## train a network on built-in images, in under two minutes
	$(BIN)/python -m src.train

test: .venv/done            ## run the quick tests: no network, no data needed; ARGS="-n 4" on four cores
	$(BIN)/python -m pytest $(ARGS)

test-all: .venv/done        ## run all tests; with DATA_DIR set, those on the real images too
	$(BIN)/python -m pytest -m ""

check: .venv/done           ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/done            ## build the site into docs/_build, without warnings
	@test -x $(BIN)/sphinx-build || $(BIN)/python -m pip install --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build
	@echo docs/_build/index.html

gpu-check: .venv/done       ## check results and speed on a GPU; ARGS="--device cpu" without one
	$(BIN)/python -m benchmarks.gpu_check $(ARGS)

studies: .venv/done         ## run what is missing of all studies, and report; SCALE=tune or published
	@failed=0; for file in $$(grep -l '^study:' conf/study/*.yaml); do \
	  $(BIN)/alexlab train study=$$(basename $$file .yaml) scale=$(SCALE) || failed=1; \
	done; $(BIN)/alexlab report multirun && exit $$failed

bench: .venv/done           ## measure speed, from a step to a study, beside others; ARGS="--quick"
	$(BIN)/python -m benchmarks $(ARGS)

board: .venv/done           ## open TensorBoard on all runs, or on those of SWEEP=multirun/NAME
	$(BIN)/alexlab board $(SWEEP)

optuna: .venv/done          ## open optuna-dashboard on SWEEP=multirun/NAME
	@test -f "$(SWEEP)/study.journal" || { echo "which sweep? make optuna SWEEP=multirun/NAME"; exit 1; }
	@test -x $(BIN)/optuna-dashboard || $(BIN)/python -m pip install --editable '.[plots]'
	$(BIN)/optuna-dashboard $(SWEEP)/study.journal

define NOTE
The environment .venv gets PyTorch and what else is needed: about 3.2 GB to download, 6.1 GB on
disk, most of it CUDA. A CPU-only PyTorch is much smaller. To get it, stop here (Ctrl-C), and
    rm -rf .venv && uv venv --seed .venv
    uv pip install --python .venv --torch-backend=cpu --editable '.[dev]'
or install torch and torchvision for CPU into .venv as PyTorch's own install page shows. Then make
again.
endef
export NOTE

.venv/done: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -c 'import torch' 2> /dev/null || echo "$$NOTE"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@

clean:                      ## remove the environment and the caches, never a run
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache dist
