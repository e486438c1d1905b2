"""Each way of writing rows that is known from public revision trees, and each thing that only looks like one."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from datamigrate.thought.linting.findings import Finding
from datamigrate.thought.linting.lint import lint_revision

REVISIONS = Path(__file__).parent / "revisions"

HEAD = "import sqlalchemy as sa\nfrom alembic import op\n\n\n"


def lint(body: str, head: str = HEAD) -> tuple[Finding, ...]:
    return lint_revision(head + dedent(body).lstrip("\n"), "versions/one.py")


def labelled(kind: str, name: str) -> tuple[str, tuple[Finding, ...]]:
    text = (REVISIONS / kind / f"{name}.py.txt").read_text(encoding="utf-8")
    return text, lint_revision(text, f"{name}.py")


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("plain_update", "UPDATE orders", "UPDATE orders in upgrade()"),
        ("with_update", 'op.execute("""', "UPDATE projects in upgrade()"),
        ("with_delete_returning_insert", 'op.execute("""', "DELETE FROM runs"),
        (
            "nested_functions_called_through_a_list",
            "sa.text(build(500))",
            "UPDATE flow_run and UPDATE task_run",
        ),
        ("dedent_with_computed_table", "op.execute(", "UPDATE wf_runs and UPDATE wf_steps"),
        ("textwrap_dedent_of_a_function", "op.execute(", "UPDATE public.documents"),
        ("local_helper_with_session", "session.execute(", "UPDATE baskets in fill_totals()"),
        ("imported_helper_with_session", "backfill_users(session", "the session is handed to"),
        ("imported_helper_with_connection", "migrate_tokens(connection)", "the connection is handed to"),
        ("helper_chosen_from_a_list", "step(session)", "the session is handed to"),
        ("helper_chosen_by_dialect", "UPDATE parts AS p", "UPDATE parts in _copy_fast()"),
        ("orm_assignment_and_commit", "slc.params = ", "UPDATE by setting slc.params in upgrade()"),
        ("orm_add", "session.add(", "INSERT INTO Slice"),
        ("orm_query_update", "db_session.query(Slice)", "UPDATE Slice"),
        ("created_table_used_in_insert", "kinds.insert()", "INSERT INTO notification_kinds"),
        ("only_in_downgrade", "DELETE FROM runs", "DELETE FROM runs in downgrade()"),
        ("module_constant", "op.execute(CLOSE_CARTS)", "UPDATE carts"),
        ("f_string_of_a_loop", "op.execute(f", "UPDATE nodes, UPDATE links and UPDATE groups"),
        ("f_string_with_unknown_parts", "op.execute(f", "UPDATE ….settings"),
        ("merge_statement", "op.execute(", "MERGE INTO prices"),
        ("core_update", "sa.update(accounts)", "UPDATE accounts"),
        ("core_table_method", "tags.update()", "UPDATE tags in upgrade(), for each row of a result"),
        ("core_imported_names", "insert(subscriptions)", "INSERT INTO subscriptions"),
        ("bulk_insert_of_many", "op.bulk_insert(", "bulk_insert of 25 rows"),
        ("bulk_insert_of_rows_read", "op.bulk_insert(", "bulk_insert of computed rows"),
        ("rows_looped_and_written", "conn.execute(", "for each row of a result"),
        ("model_import_read", "from app.models import User", "app.models.User"),
        ("anonymous_block", "op.execute(", "UPDATE boards"),
        ("function_made_and_called", "SELECT fill_slugs()", "CALL fill_slugs"),
    ],
)
def test_a_known_pattern_is_found_where_it_is(name: str, line: str, says: str) -> None:
    text, findings = labelled("data", name)
    told = next(finding for finding in findings if says in finding.message)
    following = "\n".join(text.splitlines()[told.line - 1 : told.line + 2])
    assert line in following


@pytest.mark.parametrize(
    "name",
    [
        "trigger_function",
        "sqlite_trigger",
        "procedure",
        "rule",
        "on_delete_set_null",
        "docstring_about_deleting",
        "select_only",
        "set_statements",
        "session_for_nothing",
        "batch_alter_table",
        "alter_using",
        "indexes_and_extensions",
        "views",
        "do_block_with_ddl",
        "server_defaults",
        "update_functions_do_ddl",
        "python_updates",
        "logging_texts",
        "imported_types",
        "reference_table",
        "alembic_own_table",
    ],
)
def test_what_only_looks_like_it_is_left_alone(name: str) -> None:
    assert labelled("schema", name)[1] == ()


@pytest.mark.parametrize(("rows", "reported"), [(1, False), (20, False), (21, True), (500, True)])
def test_a_bulk_insert_of_few_literal_rows_fills_a_reference_table(rows: int, reported: bool) -> None:
    listed = ", ".join(f'{{"id": {number}}}' for number in range(rows))
    found = lint(f"""
        def upgrade():
            kinds = op.create_table("kinds", sa.Column("id", sa.Integer))
            op.bulk_insert(kinds, [{listed}])
    """)
    assert bool(found) is reported


def test_rounds_of_a_loop_multiply_the_rows() -> None:
    found = lint("""
        def upgrade():
            for number in range(30):
                op.bulk_insert(sa.table("t", sa.column("n")), [{"n": number}])
    """)
    assert [f.message for f in found] == ["bulk_insert of 30 rows (INSERT INTO t) in upgrade()"]


def test_a_later_assignment_hides_an_earlier_one() -> None:
    assert not lint("""
        def upgrade():
            sql = "UPDATE users SET x = 1"
            sql = "CREATE INDEX i ON users (x)"
            op.execute(sql)
    """)


def test_a_branch_hides_nothing() -> None:
    assert lint("""
        def upgrade():
            sql = "UPDATE users SET x = 1"
            if op.get_bind().dialect.name == "sqlite":
                sql = "CREATE INDEX i ON users (x)"
            op.execute(sql)
    """)


def test_what_a_loop_assigns_reaches_its_next_round() -> None:
    assert lint("""
        def upgrade():
            sql = "SELECT 1"
            for _ in range(2):
                op.execute(sql)
                sql = "DELETE FROM users"
    """)


def test_a_function_is_judged_by_the_arguments_of_each_call() -> None:
    found = lint("""
        def clear(table):
            return f"DELETE FROM {table}"


        def upgrade():
            op.execute(clear("a"))
            op.execute(clear("b"))
    """)
    assert [(f.line, f.message) for f in found] == [
        (10, "DELETE FROM a in upgrade()"),
        (11, "DELETE FROM b in upgrade()"),
    ]


def test_a_function_that_nobody_calls_is_not_judged() -> None:
    helper = 'def fill():\n    op.execute("UPDATE a SET x = 1")\n\n\n'
    assert not lint_revision(f"{HEAD}{helper}def upgrade():\n    pass\n", "one.py")
    assert lint_revision(f"{HEAD}{helper}def upgrade():\n    fill()\n", "one.py")


def test_several_statements_at_one_place_are_counted() -> None:
    (found,) = lint("""
        def upgrade():
            op.execute("UPDATE a SET x = 1; UPDATE a SET y = 2; INSERT INTO b VALUES (1)")
    """)
    assert found.message == "UPDATE a and INSERT INTO b in upgrade() (3 statements)"
    assert found.statements == 3


def test_a_helper_is_a_warning_and_a_statement_an_error() -> None:
    found = lint("""
        from app.fixes import repair


        def upgrade():
            repair(op.get_bind())
            op.execute("DELETE FROM a")
    """)
    assert [f.severity for f in found] == ["warning", "error"]


def test_an_unreadable_file_is_told_with_its_line() -> None:
    (found,) = lint_revision("x = 1\ndef upgrade(:\n", "broken.py")
    assert (found.code, found.file, found.line) == ("unreadable-revision", "broken.py", 2)


def test_nothing_at_all_is_nothing() -> None:
    assert lint_revision("", "empty.py") == ()
