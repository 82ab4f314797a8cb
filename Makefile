# `make demo` and `make test` are the two commands; each sets up what it needs.
# The work of setting up is in .ci/bootstrap, so that it can be read and run without make.

SHELL := /bin/sh
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.ready
PYTEST := $(BIN)/python -m pytest
# Test workers: two more than the two cores that every machine has, because the slow tests wait more than they work.
JOBS ?= 4
# Hundreds of processes import the package: with this set, each would compile it anew.
unexport PYTHONDONTWRITEBYTECODE
# For `make test-versions`: 13 14 15 17 when nothing is given; any other that is on this machine may be named.
MAJORS ?=
# For `make soak`: the date, or a seed to repeat.
SEED ?= $(shell date -u +%Y%m%d)
# For `make soak`: it stops after so many minutes; without, it runs to its end.
MINUTES ?=
# Extra arguments, as in: make test ARGS="-k embedded -x"
ARGS ?=

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-24s %s\n", $$1, $$2 }'

setup: $(STAMP)  ## make .venv with the pinned packages (PYTHON=python3.12 to choose the interpreter)

$(STAMP): pyproject.toml constraints.txt .ci/ministack.txt .ci/bootstrap
	@PYTHON="$(PYTHON)" .ci/bootstrap
	@touch $(STAMP)

demo: setup  ## protect a small shop, break it, and bring it back
	@$(BIN)/backup-pipeline demo

ui: setup  ## the Dagster UI over this folder's backup.yaml; where there is none, over the demo, which it makes first
	@if [ -n "$$BACKUP_CONFIG" ] || [ -f backup.yaml ]; then exec $(BIN)/backup-pipeline ui; fi; \
	[ -f demo/backup.yaml ] || $(BIN)/backup-pipeline demo || exit; \
	exec $(BIN)/backup-pipeline --config demo/backup.yaml ui

test: setup  ## every promise, with fixed seeds (the long forms of scenarios: make soak)
	@.ci/programs
	@$(PYTEST) -n $(JOBS) --dist worksteal --durations=40 --junitxml=.durations.xml $(ARGS)

soak: setup  ## hundreds of kills, bad days and random trees, new ones each day (SEED=20261130 repeats a day, MINUTES=20 ends it)
	@.ci/programs
	@echo "soak: SEED=$(SEED)"
	@SEED=$(SEED) SOAK_UNTIL=$(if $(MINUTES),$$(($$(date +%s) + 60 * $(MINUTES)))) $(PYTEST) --soak -n $(JOBS) --dist worksteal --durations=40 --junitxml=.durations-soak.xml $(ARGS)

test-fast: setup  ## the tests without the slow and the browser ones
	@$(PYTEST) -n $(JOBS) -m "not slow and not browser" $(ARGS)

test-versions: setup  ## the PostgreSQL tests on majors that are fetched with npm (MAJORS="13 14 15 17")
	@$(BIN)/python -m backup_pipeline_tests.harness.more_servers $(MAJORS) -- -n $(JOBS) $(ARGS)

test-regression: setup  ## PostgreSQL's own regression database, there and back, beside pg_dump | psql (Debian)
	@$(BIN)/python -m backup_pipeline_tests.harness.regression_database

lint: setup  ## ruff, the formatter in check mode, mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup  ## let ruff fix and format everything
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup  ## paste every --help and the list of findings into docs/
	@$(BIN)/python -m backup_pipeline_tests.harness.paste_help
	@$(BIN)/python -m backup_pipeline_tests.harness.paste_findings

bench: setup  ## the benchmarks, against pg_dump, restic and borg in the same run
	@$(BIN)/python -m backup_pipeline_tests.benchmarks $(ARGS)

clean:  ## remove .venv, caches and build leftovers
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup demo ui test soak test-fast test-versions test-regression lint format docs bench clean
