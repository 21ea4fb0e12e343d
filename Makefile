# Each target sets up what it needs: a fresh clone and Python >= 3.11 are enough.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test lint types house check check-fast clean

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "stylebridge needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: install  ## Adapt a model from the toy simulator to the toy camera and open the report's path.
	$(BIN)/stylebridge demo --out runs/demo --overwrite

test: install  ## The whole test suite, one worker a core.
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/pyright

house:  ## Import circles, upward imports, long files and functions, full folders: there must be none.
	$(PYTHON) tools/house.py

check: lint types house test

check-fast: lint  ## The rules of style, and the tests that are quick and need no data: a minute and a half on two cores.
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not real"

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
