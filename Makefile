# Two commands matter: `make demo` and `make test`. Both do all the set-up themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
UV      = UV_NATIVE_TLS=1 UV_PYTHON_DOWNLOADS=never $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help setup demo test format lint types contracts unit clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(UV) pip install --quiet --python $(BIN)/python -e '.[dev]'
	touch $(STAMP)

setup: $(STAMP)  ## make .venv and install the project into it

format: setup  ## rewrite the sources in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup  ## format and lint, checked
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup  ## strict types
	$(BIN)/mypy

contracts: setup  ## who may import whom
	PYTHONPATH=sdk:. $(BIN)/lint-imports

unit: setup  ## the tests alone
	$(BIN)/pytest -n 2 --dist loadgroup

test: lint types contracts unit  ## format, lint, types, import contracts and the tests

clean:  ## remove what was built here
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
