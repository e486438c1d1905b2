"""The pytest plugin as a project meets it: found by itself, quiet until it is asked, one item for each thing to
prove."""

from __future__ import annotations

from pathlib import Path

import pytest

import datamigrate.testing.collecting  # noqa: F401 - what a nested pytest imports is forgotten after it, and is slow
from projects import FULL_NAME, Project, project_in

pytest_plugins = ["pytester"]

TESTS = {
    "test_changes_no_schema",
    "test_has_an_index_under_its_key",
    "test_idempotent",
    "test_imports_alone",
    "test_never_writes_its_key",
    "test_required_revisions_exist",
    "test_resumable",
    "test_works_on_an_empty_table",
}
TRUE = "\n[tool.pytest.ini_options]\ntestpaths = ['tests']\ndatamigrate_tests = true\n"
OF_THEIRS = """
def test_names(data_migration):
    trial = data_migration("names")
    trial.insert("people", {"first": "Ada", "last": "Byron", "full_name": None})
    assert trial.run().outcome == "done"
    assert trial.rows("people")[0]["full_name"] == "Ada Byron"
"""
GIVEN = """
import pytest


@pytest.fixture
def datamigrate_rows():
    return {"names": {"people": [{"first": "Ada", "last": "Byron", "full_name": None}]}}
"""
FALSE = """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET first = first || '!'"))
"""
TWICE = """def test_twice(data_migration):
    trial = data_migration("names")
    trial.insert("people", {"first": "Ada"})
    trial.assert_idempotent()
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a test of its own, in the directory of a nested pytest."""
    monkeypatch.delenv("DATAMIGRATE_TEST_URL", raising=False)
    made = project_in(pytester.path)
    (pytester.path / "tests").mkdir()
    (pytester.path / "tests" / "test_theirs.py").write_text(OF_THEIRS)
    (pytester.path / "conftest.py").write_text(GIVEN)
    made.write_script("names", FULL_NAME)
    return made


def configure(pytester: pytest.Pytester, text: str) -> None:
    file = pytester.path / "pyproject.toml"
    file.write_text(file.read_text() + text)


def collected(pytester: pytest.Pytester, *arguments: str) -> set[str]:
    items, _ = pytester.inline_genitems(*arguments)
    return {item.nodeid for item in items}


def test_its_fixture_is_there_without_a_word_of_configuration(
    pytester: pytest.Pytester, project: Project
) -> None:
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_one_line_brings_the_default_tests_of_every_script(
    pytester: pytest.Pytester, project: Project
) -> None:
    configure(pytester, TRUE)
    project.write_script("nicks", FULL_NAME)
    theirs = "tests/test_theirs.py::test_names"
    default = {f"datamigrations/{file}.py::{test}" for file in ("names", "nicks") for test in TESTS}
    assert collected(pytester) == {theirs} | default
    one = "datamigrations/names.py::test_idempotent"
    assert collected(pytester, one) == {one}


def test_an_option_brings_them_for_once(pytester: pytest.Pytester, project: Project) -> None:
    assert collected(pytester, "datamigrations") == set()
    assert len(collected(pytester, "--test-datamigrations")) == len(TESTS) + 1


def test_a_default_test_uses_the_rows_that_the_project_gives(
    pytester: pytest.Pytester, project: Project
) -> None:
    configure(pytester, TRUE)
    chosen = "test_idempotent or test_changes_no_schema or test_required"
    pytester.runpytest_inprocess("datamigrations", "-k", chosen).assert_outcomes(passed=3, deselected=5)


def test_a_default_test_that_fails_shows_rows_and_what_to_change_and_nothing_of_ours(
    pytester: pytest.Pytester, project: Project
) -> None:
    configure(pytester, TRUE)
    project.write_script("names", FALSE)
    (pytester.path / "tests" / "test_twice.py").write_text(TWICE)
    result = pytester.runpytest_inprocess("datamigrations/names.py::test_idempotent", "tests/test_twice.py")
    result.assert_outcomes(failed=2)
    result.stdout.re_match_lines(
        [
            r"names is not idempotent: run again after it was done, it changed 1 row again\.",
            r"people +id=1 +first +Ada! +Ada!!",
            r"What to change: .*remaining",
            r"tests/test_twice\.py:4: NotProven",
            r"FAILED datamigrations/names\.py::test_idempotent",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*proofs.py*")


def test_a_script_that_does_not_load_fails_once(pytester: pytest.Pytester, project: Project) -> None:
    configure(pytester, TRUE)
    project.write_file("names.py", "import nothing_of_that_name\n")
    result = pytester.runpytest_inprocess("datamigrations", "-rs")
    result.assert_outcomes(failed=1, skipped=7)
    result.stdout.fnmatch_lines(["*it cannot be loaded, see test_imports_alone*No module named*"])


IDLE = """
import sys


def test_nothing_is_imported():
    assert "datamigrate.testing.plugin" in sys.modules
    assert not {"sqlalchemy", "alembic", "anyio", "rich", "datamigrate.testing.trial"} & sys.modules.keys()
"""


def test_where_it_is_not_used_it_imports_nothing(tmp_path: Path, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(IDLE)
    pytester.runpytest_subprocess("-p", "no:anyio", "-p", "no:hypothesispytest").assert_outcomes(passed=1)
