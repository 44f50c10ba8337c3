# `make run` and `make test` set everything up by themselves: they need Python 3.11, make and a package registry.
PYTHON ?= python3.11
PYTHON := $(shell command -v $(PYTHON) || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: run test lint bench fault ui clean

run: $(STAMP)
	exec $(BIN)/don up

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

fault: $(STAMP)
	$(BIN)/python -m pytest -m fault -n 2 --dist loadgroup --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/don bench

ui:
	cd serve/ui && npm ci --no-audit --no-fund && npm run build

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "Don needs Python 3.11, this is " + sys.version.split()[0] + ": set PYTHON=/path/to/python3.11")'
	@echo 'Setting up $(VENV), once: about 5 minutes on two cores, 3 GB of disk.'
	@echo '1/3 making the environment'
	@$(PYTHON) -m venv $(VENV)
	@echo '2/3 fetching and installing packages: some minutes, in silence'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	@echo '3/3 compiling them, so that every start is fast'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true # pip would do it on one core; some packages hold files of other Pythons
	@touch $@
	@echo 'Done.'

clean:
	rm -rf $(VENV) build dist *.egg-info
