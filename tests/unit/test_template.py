"""The text of a new script: it loads as it is written, whatever the message."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from databases import ROOT
from datamigrate.authoring.loading import load_script
from datamigrate.authoring.template import KINDS, NewScript, new_script
from unit.samples import loaded, written

NOON = datetime(2026, 11, 22, 12, 4)


def script(message: str = "populate full name", kind: str = "update", *requires: str) -> NewScript:
    return new_script(message, requires or ("8a6ada1e0883",), kind, NOON)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_script_of_every_kind_loads_as_it_is_written(tmp_path: Path, kind: str) -> None:
    new = script(kind=kind)
    migration = load_script(written(tmp_path, new.text, new.file)).migration
    assert (migration.name, migration.kind) == (new.name, kind)
    assert migration.requires == ("8a6ada1e0883",)
    assert migration.title == "Populate full name."


def test_a_new_free_script_counts_what_remains(tmp_path: Path) -> None:
    assert "async def remaining(session)" in script(kind="free").text


@pytest.mark.parametrize("requires", [(), ("a1",), ("a1", "b2")])
def test_new_scripts_are_formatted_and_free_of_lint(tmp_path: Path, requires: tuple[str, ...]) -> None:
    for kind in KINDS:
        new = new_script("populate full name", requires, kind, NOON)
        written(tmp_path, new.text, f"{kind}.py")
    for command in (["format", "--check"], ["check", "--select", "E,F,W,B,UP"]):
        checked = subprocess.run(
            [
                sys.executable,
                "-m",
                "ruff",
                *command,
                "--isolated",
                "--no-cache",
                "--line-length",
                "100",
                tmp_path,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("requires", [(), ("a1",), ("a1", "b2")])
def test_a_new_script_requires_what_it_is_told_to(tmp_path: Path, requires: tuple[str, ...]) -> None:
    text = new_script("populate full name", requires, "free", NOON).text
    assert loaded(tmp_path, text).migration.requires == requires


@pytest.mark.parametrize(
    ("message", "file", "name"),
    [
        ("populate full name", "20261122_1204_populate_full_name.py", "populate_full_name"),
        (
            "Populate users.full_name!",
            "20261122_1204_populate_users_full_name.py",
            "populate_users_full_name",
        ),
        ("2nd try", "20261122_1204_2nd_try.py", "m_2nd_try"),
        ("größe", "20261122_1204_gr_e.py", "gr_e"),
        ("", "20261122_1204_data_migration.py", "data_migration"),
        ("数据", "20261122_1204_data_migration.py", "data_migration"),
        ("a" * 59 + " b", f"20261122_1204_{'a' * 59}.py", "a" * 59),
    ],
)
def test_the_file_is_dated_and_named_after_the_message(message: str, file: str, name: str) -> None:
    new = script(message)
    assert (new.file, new.name) == (file, name)


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("populate full name", "Populate full name."),
        ("Populate it.", "Populate it."),
        ("two\nlines", "Two lines."),
        ('rename "old" to "new"', 'Rename "old" to "new".'),
        ('say """no"""', "Say '''no'''."),
        (r"move C:\new\data", r"Move C:\new\data."),
        ("use {braces} and %s", "Use {braces} and %s."),
        ("  spaces  ", "Spaces."),
        ("", "data_migration."),
    ],
)
def test_the_message_is_the_title(message: str, title: str) -> None:
    assert ast.get_docstring(ast.parse(script(message).text)) == title


@given(st.text() | st.text(alphabet="\"'\\\n{}.x"), st.sampled_from(KINDS))
@example('"', "update")
@example('x"""', "update")
@example("x\\", "update")
@example("\0", "update")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_with_any_message_a_new_script_loads(tmp_path: Path, message: str, kind: str) -> None:
    new = script(message, kind)
    assert Path(new.file).name == new.file
    assert load_script(written(tmp_path, new.text)).name == new.name


def test_the_repositorys_own_scripts_are_named_as_new_ones_are() -> None:
    for file in sorted((ROOT / "datamigrations").glob("*.py")):
        name = load_script(file).name
        assert file.stem[14:] == name
