# make train and make test need git, make and Python 3.11 or newer, nothing else.
PYTHON ?= python3
BIN := .venv/bin

SCALE ?= quick

.PHONY: train test test-all check studies bench board optuna clean

train: .venv/done           ## trains on the built-in data, in under two minutes
	$(BIN)/python -m src.train

test: .venv/done            ## the quick tests: no network, no data needed
	$(BIN)/python -m pytest

test-all: .venv/done        ## all tests; with DATA_DIR set, those on the real images too
	$(BIN)/python -m pytest -m ""

check: .venv/done           ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

studies: .venv/done         ## every study, or what is missing of it (SCALE=full for a GPU), and their reports
	@failed=0; for file in $$(grep -l '^study:' conf/study/*.yaml); do \
	  $(BIN)/python -m src.train study=$$(basename $$file .yaml) scale=$(SCALE) || failed=1; \
	done; $(BIN)/alexlab report multirun && exit $$failed

bench: .venv/done           ## speed against what one would write by hand; needs DATA_DIR
	$(BIN)/python -m benchmarks.training

board: .venv/done           ## TensorBoard on all runs, or on those of SWEEP=multirun/NAME
	$(BIN)/tensorboard --logdir $(or $(SWEEP),multirun) --window_title alexlab

optuna: .venv/done          ## optuna-dashboard on SWEEP=multirun/NAME
	@test -f "$(SWEEP)/study.journal" || { echo "which sweep? make optuna SWEEP=multirun/NAME"; exit 1; }
	@test -x $(BIN)/optuna-dashboard || $(BIN)/python -m pip install --quiet --editable '.[plots]'
	$(BIN)/optuna-dashboard $(SWEEP)/study.journal

.venv/done: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:                      ## removes the environment and the caches, never a run
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache *.egg-info
