"""How often the linter is right, over revisions written after what public projects' trees hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from datamigrate.thought.linting.lint import lint_revision

REVISIONS = Path(__file__).parent / "revisions"
DATA = sorted((REVISIONS / "data").glob("*.py.txt"))
SCHEMA = sorted((REVISIONS / "schema").glob("*.py.txt"))


def is_reported(file: Path) -> bool:
    return bool(lint_revision(file.read_text(encoding="utf-8"), file.name))


def test_the_labelled_set_is_large_and_even() -> None:
    assert len(DATA) + len(SCHEMA) >= 120
    assert min(len(DATA), len(SCHEMA)) >= 60


def test_precision_and_recall() -> None:
    missed = [file.name for file in DATA if not is_reported(file)]
    false_alarms = [file.name for file in SCHEMA if is_reported(file)]
    hits = len(DATA) - len(missed)
    precision, recall = hits / (hits + len(false_alarms)), hits / len(DATA)
    figures = f"precision {precision:.3f}, recall {recall:.3f}; missed {missed}; false alarms {false_alarms}"
    assert precision >= 0.95, figures
    assert recall >= 0.95, figures


@pytest.mark.parametrize("file", [*DATA, *SCHEMA], ids=lambda file: str(file.stem))
def test_every_labelled_revision_is_python(file: Path) -> None:
    compile(file.read_text(encoding="utf-8"), file.name, "exec")


@pytest.mark.parametrize("file", DATA, ids=lambda file: str(file.stem))
def test_a_finding_points_at_a_line_of_the_file_and_names_the_revision(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for finding in lint_revision(text, file.name):
        line = text.splitlines()[finding.line - 1]
        assert line.strip()
        assert not line.lstrip().startswith("#")
        assert finding.code == "data-in-schema-revision"
        assert finding.file == file.name
        assert f'revision = "{finding.revision}"' in text
