# `make` lists the targets. Paths are relative throughout, so a folder with spaces in its name works.
# One environment, .venv, made from constraints.txt; made again when pyproject.toml, setup.py or the pins change. What
# only tests need, PyTorch above all, comes with the first `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.installed
TESTED := .venv/.installed-test
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
CODE := mmjax tests benchmarks configs setup.py
# Two processes: a test file compiles for seconds on one core. All tests of a file share one process and its fixtures.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help install quickstart test test-slow lint types imports unit format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## make .venv and install mmjax into it

# Prefers the python3 of the PATH if it is new enough; --version alone lies where a shim stands for a missing version.
$(STAMP): pyproject.toml setup.py constraints.txt
	@if [ ! -x $(BIN)/python ]; then \
	  python=""; \
	  for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "mmjax needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || true). Install one, or say where: make install PYTHON=/path/to/python" >&2; exit 2; \
	  fi; \
	  echo "== environment: .venv with $$("$$python" --version)"; \
	  "$$python" -m venv .venv || { echo "cannot make .venv; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf .venv; exit 2; }; \
	fi
	@echo "== install: mmjax and its pinned dependencies into .venv (some minutes on a fresh machine)"
	@$(PIP) --editable .
	@touch $@

$(TESTED): $(STAMP)
	@echo "== install: what the tests need as well"
	@$(PIP) --editable '.[test]'
	@touch $@

quickstart: $(STAMP) ## pretrain and evaluate a small two-tower model on the CPU
	@$(BIN)/mmjax train --config configs/quickstart.py --workdir runs/quickstart

test: lint types imports unit ## what CI runs: lint, types, import rules, tests

lint: $(TESTED) ## ruff: style and format
	@echo "== lint: ruff"
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

types: $(TESTED) ## mypy
	@echo "== types: mypy"
	@$(BIN)/mypy

imports: $(TESTED) ## import-linter: which room may import which
	@echo "== import rules: import-linter"
	@$(BIN)/lint-imports --no-logo

unit: $(TESTED) ## the tests, without the slow ones
	@echo "== tests: pytest"
	@$(PYTEST)

test-slow: $(TESTED) ## the tests that train for minutes
	@echo "== slow tests: pytest -m slow"
	@$(BIN)/python -m pytest -m slow --timeout 3600

format: $(TESTED) ## let ruff mend style and format
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

clean: ## remove .venv and all caches; keeps runs/
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
