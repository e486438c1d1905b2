"""The menu of the package, and what comes in with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import datamigrate
from datamigrate.authoring import forms
from datamigrate.words import errors

HEAVY = ("sqlalchemy", "alembic", "rich", "asyncpg", "aiosqlite")


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after this code."""
    report = "import sys; print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    finished = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return set(finished.stdout.splitlines()[-1].split())


def test_the_menu_is_this() -> None:
    assert datamigrate.__all__ == [
        "Batch",
        "DatamigrateError",
        "__version__",
        "compute_rows",
        "delete_rows",
        "each_batch",
        "update_rows",
    ]


@pytest.mark.parametrize("name", datamigrate.__all__)
def test_everything_on_the_menu_is_there(name: str) -> None:
    assert getattr(datamigrate, name) is not None


def test_what_is_on_the_menu_is_what_it_says() -> None:
    assert datamigrate.update_rows is forms.update_rows
    assert datamigrate.DatamigrateError is errors.DatamigrateError


def test_what_is_not_on_the_menu_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'insert_rows'"):
        datamigrate.insert_rows  # type: ignore[attr-defined] # noqa: B018 # what is tested


def test_importing_the_package_brings_nothing_heavy() -> None:
    assert not modules_after("import datamigrate").intersection(HEAVY)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["new", "-h"]])
def test_help_brings_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import datamigrate.faces.cli as cli\n"
        f"try: cli.cli({arguments!r}, prog_name='datamigrate')\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert not modules_after(code).intersection(HEAVY)


def test_a_form_brings_sqlalchemy_and_no_driver() -> None:
    modules = modules_after("from datamigrate import update_rows")
    assert "sqlalchemy" in modules
    assert not modules.intersection({"alembic", "asyncpg", "aiosqlite", "rich"})
