"""What the findings of one file say together."""

from __future__ import annotations

import shlex

import pytest

from datamigrate.thought.linting.findings import summary
from datamigrate.thought.linting.lint import lint_revision

HEAD = 'import sqlalchemy as sa\nfrom alembic import op\n\nrevision = "8a6ada1e0883"\n\n\ndef upgrade():\n'


def test_facts_are_plain_data() -> None:
    (found,) = lint_revision(f'{HEAD}    op.execute("UPDATE users SET x = 1")\n', "versions/one.py")
    assert found.facts() == {
        "code": "data-in-schema-revision",
        "severity": "error",
        "file": "versions/one.py",
        "line": 8,
        "message": "UPDATE users in upgrade()",
        "statements": 1,
    }


def test_the_summary_counts_statements_and_names_the_command() -> None:
    body = '    op.execute("UPDATE users SET x = 1; UPDATE users SET y = 2")\n    op.execute("DELETE FROM visits")\n'
    told = summary(lint_revision(HEAD + body, "one.py"))
    assert told is not None
    assert str(told) == "3 data statements: UPDATE users, DELETE FROM visits"
    assert shlex.split(told.command) == [
        *("datamigrate", "new", "-m", "update users and delete from visits"),
        *("--kind", "free", "--requires", "8a6ada1e0883"),
    ]


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ('    op.execute("UPDATE a SET x = 1")\n', []),
        ('    op.execute("DELETE FROM a")\n', ["--kind", "delete"]),
        ('    op.execute("INSERT INTO a SELECT * FROM b")\n', ["--kind", "free"]),
        (
            '    for row in op.get_bind().execute(sa.text("SELECT 1")):\n'
            '        op.execute(f"UPDATE a SET x = {row.x}")\n',
            ["--kind", "compute"],
        ),
    ],
)
def test_the_kind_of_script_fits_the_work(body: str, options: list[str]) -> None:
    told = summary(lint_revision(HEAD + body, "one.py"))
    assert told is not None
    words = shlex.split(told.command)
    assert words[4 : words.index("--requires")] == options


def test_without_data_work_there_is_no_summary() -> None:
    assert summary(lint_revision(f"{HEAD}    pass\n", "one.py")) is None
    assert summary(lint_revision("def (", "one.py")) is None


def test_a_revision_of_unknown_name_leaves_requires_out() -> None:
    told = summary(lint_revision("from alembic import op\nop.execute('DELETE FROM a')\n", "one.py"))
    assert told is not None
    assert "--requires" not in told.command
