# Two commands on a machine with Python 3.11 or newer and make:
#   make demo   a workspace on real public history in ./demo, run, published, with its review page
#   make test   style, types and tests
# Each makes .venv from constraints.txt when it is missing. PYTHON=... names another interpreter.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= demo
PYTEST_WORKERS ?= 2
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$name" && break; done)

# One thread a process: the numbers do not depend on it, and two workers do not fight for two cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true

.PHONY: help demo test format clean

help:
	@echo "make demo   a workspace on real public history in ./$(DEMO)"
	@echo "make test   ruff, mypy and pytest"
	@echo "make format rewrite the code as ruff wants it"
	@echo "make clean  remove .venv and ./$(DEMO)"

$(READY): constraints.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11 or newer is needed and was not found; install it, or name it: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; fi
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV) || { \
		rm -rf $(VENV); \
		echo "$(PYTHON) could not make $(VENV); on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	@echo "installing into $(VENV) (about 1.3 GB, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[demo,postgres,test]"
	@touch $(READY)

demo: $(READY)
	@$(BIN)/sopforecast demo $(DEMO)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO)
