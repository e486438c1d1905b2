PYTHON ?= python3
USERS ?= 200000
VENV := .venv
BIN := $(VENV)/bin

DEMO_FILE := demo.db
DEMO_URL := sqlite+aiosqlite:///$(CURDIR)/$(DEMO_FILE)
demo: export DATABASE_URL := $(or $(DATABASE_URL),$(DEMO_URL))

.PHONY: help demo test check install clean

help:
	@echo "make demo                    the whole path on SQLite: create, seed, plan, run, status"
	@echo "make demo DATABASE_URL=...   the same on a PostgreSQL database that exists and is empty"
	@echo "make test                    every test, on SQLite and on a PostgreSQL that the tests start"
	@echo "make check                   lint, types, floors"

# The schema goes as far as the expand revisions, the data follows, then the contract revisions.
demo: $(VENV)/installed
	@if [ "$$DATABASE_URL" = "$(DEMO_URL)" ]; then rm -f $(DEMO_FILE) $(DEMO_FILE)-wal $(DEMO_FILE)-shm; fi
	$(BIN)/alembic upgrade d92f0b6c3e51
	$(BIN)/python -m chat.seed --users $(USERS)
	$(BIN)/datamigrate plan
	$(BIN)/datamigrate run --dry-run
	$(BIN)/datamigrate run
	$(BIN)/datamigrate status
	$(BIN)/alembic upgrade head

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/installed

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) $(DEMO_FILE) $(DEMO_FILE)-wal $(DEMO_FILE)-shm
