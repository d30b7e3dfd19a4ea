# Everything runs in a virtual environment of its own, made on first use from PYTHON (3.10 to 3.13).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test test-unit check format docs bench clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else f"tfopt needs Python 3.10 to 3.13, this is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing tfopt and TensorFlow into $(VENV) (about 2 GB; a few minutes on the first run)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: $(STAMP)  ## make the virtual environment

demo: $(STAMP)  ## compress, bench, publish, serve and roll back the bundled model
	@$(BIN)/tfopt demo

test: $(STAMP)  ## run all tests
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

test-unit: $(STAMP)  ## run the quick tests: IR, recipes, samples, fidelity, store
	@$(BIN)/python -m pytest -q tests/ir tests/recipe tests/data tests/fidelity tests/store

check: $(STAMP)  ## lint, format, types, generated docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python docs/generate.py --check

format: $(STAMP)  ## format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(STAMP)  ## write the generated pages of docs/reference
	@$(BIN)/python docs/generate.py

bench: $(STAMP)  ## print the marks that the README quotes
	@$(BIN)/python -m benchmarks.marks

clean:  ## remove what make made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache demo-output
