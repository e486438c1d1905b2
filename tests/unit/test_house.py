"""The rules of the house that a tool can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from databases import ROOT

PACKAGE = ROOT / "runner" / "datamigrate"
FLOORS = ["words", "thought", "authoring", "database", "doing", "faces", "testing"]


def imports(file: Path) -> set[str]:
    """What a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_every_contract_between_the_floors_is_kept() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout


def test_the_house_has_these_floors() -> None:
    assert {file.parent.name for file in PACKAGE.glob("*/__init__.py")} >= set(FLOORS)


@pytest.mark.parametrize("floor", FLOORS)
def test_every_floor_says_what_it_is(floor: str) -> None:
    docstring = ast.get_docstring(ast.parse((PACKAGE / floor / "__init__.py").read_bytes()))
    assert docstring is not None
    assert docstring.startswith(f"Floor {FLOORS.index(floor) + 1}, ")


def test_no_package_of_the_repository_shadows_alembic() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("floor", ["words", "thought"])
def test_pure_thought_leans_on_nothing_that_does_io(floor: str) -> None:
    for file in (PACKAGE / floor).rglob("*.py"):
        outside = {name.partition(".")[0] for name in imports(file)} - set(sys.stdlib_module_names)
        # sqlglot and cronsim parse text and do nothing else
        assert outside <= {"datamigrate", "cronsim", "sqlglot"}, file


def test_no_dialect_knows_another() -> None:
    for one, another in (("postgresql", "sqlite"), ("sqlite", "postgresql")):
        rooms = list((PACKAGE / "database/dialects").glob(f"{one}*.py"))
        assert len(rooms) > 1
        assert not any(another in name for room in rooms for name in imports(room))


def test_the_tests_do_not_reach_for_a_host_clock() -> None:
    for file in (ROOT / "tests" / "unit").glob("*.py"):
        assert not {"time", "timeit"} & imports(file), file
