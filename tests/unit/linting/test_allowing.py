"""`# datamigrate: allow(reason)`."""

from __future__ import annotations

import pytest

from datamigrate.thought.linting.lint import lint_revision

HEAD = "from alembic import op\n"
ALLOW = "# datamigrate: allow(three rows, ever)"


def lines(body: str) -> list[int]:
    return [finding.line for finding in lint_revision(HEAD + body, "one.py")]


def test_on_the_line() -> None:
    body = f'def upgrade():\n    op.execute("DELETE FROM a")  {ALLOW}\n    op.execute("DELETE FROM b")\n'
    assert lines(body) == [4]


@pytest.mark.parametrize("line", [2, 3, 4])
def test_on_any_line_of_the_statement(line: int) -> None:
    body = [
        "def upgrade():",
        "    op.execute(",
        '        "DELETE FROM a"',
        "    )",
        '    op.execute("DELETE FROM b")',
    ]
    body[line - 1] += f"  {ALLOW}"
    assert lines("\n".join(body)) == [6]


def test_on_a_line_of_its_own_above_the_statement() -> None:
    body = f'def upgrade():\n    {ALLOW}\n    op.execute("DELETE FROM a")\n    op.execute("DELETE FROM b")\n'
    assert lines(body) == [5]


def test_on_the_line_that_begins_a_function() -> None:
    body = (
        'def upgrade():\n    op.execute("DELETE FROM a")\n\n\n'
        f'def downgrade():  {ALLOW}\n    op.execute("DELETE FROM b")\n'
    )
    assert lines(body) == [3]


def test_at_the_left_margin_it_holds_for_the_revision() -> None:
    body = 'def upgrade():\n    op.execute("DELETE FROM a")\n    op.execute("DELETE FROM b")\n'
    assert lines(body) == [3, 4]
    assert lines(f"{ALLOW}\n{body}") == []
    assert lines(f"{body}\n{ALLOW}\n") == []


@pytest.mark.parametrize(
    "comment",
    [
        "# datamigrate: allow()",
        "# datamigrate: allow( )",
        "# datamigrate: allow",
        "# allow(reason)",
        "# noqa",
    ],
)
def test_without_a_reason_nothing_is_allowed(comment: str) -> None:
    assert lines(f'{comment}\ndef upgrade():\n    op.execute("DELETE FROM a")  {comment}\n') == [4]


def test_a_string_is_no_comment() -> None:
    assert lines(f'NOTE = """\n{ALLOW}\n"""\ndef upgrade():\n    op.execute("DELETE FROM a")\n') == [6]
