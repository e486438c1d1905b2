PYTHON ?= python3
USERS ?= 200000
ROWS ?= 2000000
VENV := .venv
BIN := $(VENV)/bin

DEMO_FILE := demo.db
DEMO_URL := sqlite+aiosqlite:///$(CURDIR)/$(DEMO_FILE)
demo: export DATABASE_URL := $(or $(DATABASE_URL),$(DEMO_URL))

.PHONY: help demo test test-versions check bench performance campaign reliability install clean

help:
	@echo "make demo                    the whole path on SQLite: create, seed, plan, run, status"
	@echo "make demo DATABASE_URL=...   the same on a PostgreSQL database that exists and is empty"
	@echo "make test                    every test, on SQLite and on a PostgreSQL that the tests start"
	@echo "make test-versions           what meets Alembic, on its oldest supported versions and SQLAlchemy's"
	@echo "make campaign [SEED=n]       faults at every place where one can happen, in their long form"
	@echo "make reliability             docs/reliability.md from what the campaign left"
	@echo "make check                   lint, types, floors"
	@echo "make bench [ROWS=2000000]    measure, side by side with the limit and with other ways"
	@echo "make performance             docs/performance.md from what was measured"

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
	$(BIN)/python -m pytest -n 3 --dist worksteal

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The versions of Alembic and SQLAlchemy that are supported, oldest first, on what meets them most.
VERSIONS := 1.16.0,2.0.31 1.18.5,2.0.58 1.18.5,2.1.9
ON_VERSIONS := tests/contract/test_dialects.py tests/acceptance/test_gates.py tests/acceptance/test_hooks.py tests/acceptance/test_joint_upgrade.py \
	tests/acceptance/test_foreign_projects.py tests/acceptance/test_dry_run_through.py tests/integration/test_keys.py

test-versions: $(VERSIONS:%=test-version-%)

test-version-%: $(BIN)/python
	$(PYTHON) -m venv --clear $(VENV)/versions/$*
	$(VENV)/versions/$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' \
		$(shell echo $* | sed -E 's/(.*),(.*)/alembic==\1 sqlalchemy[asyncio]==\2/')
	$(VENV)/versions/$*/bin/python -m pytest -q -n 2 --dist loadfile $(ON_VERSIONS)

bench: $(VENV)/installed-bench
	$(BIN)/python -m bench all --rows $(ROWS)

performance: $(VENV)/installed-bench
	$(BIN)/python -m bench report

# In its long form: an hour or two. What tests count in it is kept in tests/campaign/results.
IN_LONG_FORM := tests/campaign tests/acceptance/test_a_million_rows.py \
	tests/integration/test_crashes.py tests/integration/test_faults.py tests/integration/test_undo.py

campaign: export DATAMIGRATE_CAMPAIGN := long
campaign: export DATAMIGRATE_SEED := $(SEED)
campaign: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -rs -n 2 --timeout 3600 $(IN_LONG_FORM)

reliability: $(VENV)/installed-test
	cd tests && ../$(BIN)/python -m campaign.report

install: $(VENV)/installed

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/installed $(VENV)/installed-bench

$(VENV)/installed-bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) $(DEMO_FILE) $(DEMO_FILE)-wal $(DEMO_FILE)-shm
