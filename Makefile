PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
OTHER_PYTHONS := 3.12 3.13

export HF_HUB_OFFLINE = 1
export HF_HUB_DISABLE_TELEMETRY = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1
export MOTOOLS_TEST_CEPH = $(abspath $(VENV))/ceph
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS = 120

.PHONY: demo test lint bench docs clean

demo: $(VENV)/.demo  ## fine-tune and evaluate, then the same again: all hits
	$(BIN)/python examples/demo.py

test: $(VENV)/.test $(VENV)/ceph lint  ## every test, in parallel
	$(BIN)/python tests/golden/interpreters.py $(OTHER_PYTHONS)
	$(BIN)/python -m compileall -q motools tests flows examples  # for the programs that tests start
	$(BIN)/pytest -n 3 --dist worksteal
	if nvidia-smi --list-gpus >/dev/null 2>&1; then MOTOOLS_TEST_GPU=1 $(BIN)/pytest -m gpu tests/training; fi

lint: $(VENV)/.test  ## formatting, rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.bench  ## figures beside peers, in one run
	$(BIN)/python -m tests.benchmarks

docs: $(VENV)/.docs  ## the documentation as a site, in site/
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs site
	@echo "open site/index.html"

clean:  ## what the commands above made
	rm -rf $(VENV) .venvs .motools .mypy_cache .pytest_cache .ruff_cache site

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "motools needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[local]'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[test]'
	touch $@

$(VENV)/ceph: $(BIN)/python tests/ceph.py  # a real S3; without it, tests that need one are skipped
	$(BIN)/python tests/ceph.py $@

$(VENV)/.bench: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[bench]'
	touch $@

$(VENV)/.docs: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[docs]'
	touch $@
