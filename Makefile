# make search   set up, then search the built-in space on the built-in base and corpus
# make test     set up, then run the tests, two at a time (slow ones left out)
# make check    set up, then lint, types and the import contract
# make test-slow   the slow tests, one after another

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install search test test-slow check clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "isogloss needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

search: $(STAMP)
	$(BIN)/python -m search.run spaces/lora_family.yaml

test: $(STAMP)
	$(BIN)/python -m pytest -m 'not slow' -n 2 --durations 20 --durations-min 5

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist *.egg-info
