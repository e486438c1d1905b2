"""What was understood of a script's text is remembered for that very text."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from datamigrate.authoring import meaning, reading
from datamigrate.authoring.loading import load_scripts
from datamigrate.words.errors import ScriptError
from unit.samples import FREE, written


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    folder = tmp_path / "datamigrations"
    folder.mkdir()
    written(folder, FREE, "one.py")
    written(folder, FREE.replace("sample", "other"), "two.py")
    return folder


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are parsed."""
    files: list[str] = []
    parse = reading.parse

    def noted(source: bytes, file: str) -> object:
        files.append(Path(file).name)
        return parse(source, file)

    monkeypatch.setattr(reading, "parse", noted)
    return files


def test_a_text_is_understood_once(scripts: Path, parsed: list[str]) -> None:
    first = load_scripts(scripts)
    assert parsed == ["one.py", "two.py"]
    again = load_scripts(scripts)
    assert parsed == ["one.py", "two.py"]
    assert again.migrations == first.migrations


def test_an_edited_text_is_understood_anew(scripts: Path, parsed: list[str]) -> None:
    before = load_scripts(scripts).migrations[0]
    parsed.clear()
    times = (scripts / "one.py").stat()
    written(scripts, FREE.replace("...", "1/1"), "one.py")
    os.utime(scripts / "one.py", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load_scripts(scripts).migrations[0].checksum != before.checksum
    assert parsed == ["one.py"]


def test_what_is_wrong_with_a_text_is_told_every_time(scripts: Path) -> None:
    written(scripts, FREE.replace("requires", "reqires"), "two.py")
    for _ in range(2):
        [problem] = load_scripts(scripts).problems
        assert isinstance(problem, ScriptError)
        assert problem.hint == "Did you mean `requires`?"


def test_a_moved_folder_is_read_anew_since_errors_name_the_file(scripts: Path, parsed: list[str]) -> None:
    load_scripts(scripts)
    parsed.clear()
    moved = scripts.with_name("elsewhere")
    shutil.move(scripts, moved)
    assert [m.file.parent for m in load_scripts(moved).migrations] == [moved, moved]
    assert parsed == ["one.py", "two.py"]


def test_other_rules_read_everything_anew(
    scripts: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load_scripts(scripts)
    parsed.clear()
    rules = tmp_path / "meaning.py"
    rules.touch()
    monkeypatch.setattr(meaning, "__file__", str(rules))
    load_scripts(scripts)
    assert parsed == ["one.py", "two.py"]


@pytest.mark.parametrize(
    "content", [b"", b"\xe3junk", b"i\x01\x00\x00\x00"], ids=["empty", "junk", "a number"]
)
def test_a_damaged_memory_is_made_anew(scripts: Path, parsed: list[str], content: bytes) -> None:
    load_scripts(scripts)
    [memory] = (scripts / "__pycache__").iterdir()
    memory.write_bytes(content)
    parsed.clear()
    assert len(load_scripts(scripts).scripts) == 2
    load_scripts(scripts)
    assert parsed == ["one.py", "two.py"]


def test_where_python_is_to_write_no_bytecode_nothing_is_written(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    load_scripts(scripts)
    assert not (scripts / "__pycache__").exists()


def test_a_folder_that_cannot_be_written_is_read_every_time(scripts: Path, parsed: list[str]) -> None:
    (scripts / "__pycache__").write_text("in the way")
    for _ in range(2):
        assert len(load_scripts(scripts).scripts) == 2
    assert parsed == ["one.py", "two.py"] * 2
