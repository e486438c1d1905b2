"""`run --dry-run --through`: what is blocked is tried where what it waits for has been done, and nothing stays."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beside import GATED, INDEXED, hooked, revision_of, write_env, write_gate
from databases import HEAD, ROOT, ScratchDatabase
from databases import upgrade as upgrade_chat
from datamigrate.database import ahead
from datamigrate.doing import previewing
from datamigrate.thought.pacing import Pace
from projects import FULL_NAME, NICK, NICKNAMES, PEOPLE, Project, add_people, ended

INITIALS = """
people.append_column(sa.column("initials", sa.Text))
migrate = update_rows(
    people,
    pending=people.c.initials.is_(None),
    values={people.c.initials: sa.func.coalesce(people.c.full_name, "") + "!"},
)
"""
FREE = """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET full_name = 'free' WHERE full_name IS NULL"))
"""
FREE_AND_COUNTED = f"""{FREE}
async def remaining(session):
    return await session.scalar(sa.text("SELECT count(*) FROM people WHERE full_name IS NULL"))
"""
ADD_INITIALS = 'op.add_column("people", sa.Column("initials", sa.Text))'


@pytest.fixture
def project(tmp_path: Path, database: ScratchDatabase) -> Project:
    """People at the first revision; `nick` waits for the second, and `full_name` for none."""
    project = hooked(tmp_path / "project", database)
    project.upgrade(PEOPLE)
    add_people(database, 30)
    project.write_script("full_name")
    project.write_script("nick", NICK, requires=NICKNAMES)
    return project


def through(project: Project, *names: str, exits: int = 0) -> dict[str, Any]:
    """Dry-run through to what is blocked."""
    return project.json("run", "--dry-run", "--through", *names, exits=exits)


def rehearsal_of(facts: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [r for r in facts["rehearsals"] if r["name"] == name]
    return dict(found)


def test_without_it_what_is_blocked_is_listed_with_the_reason(project: Project) -> None:
    facts = project.json("run", "--dry-run")
    reason = f"it needs revision {NICKNAMES}, which is not applied"
    assert facts["not_previewed"] == [{"name": "nick", "reason": reason}]
    assert facts["through"] is None
    told = project.quick("run", "--dry-run").err
    assert f"nick: not previewed, because {reason}." in told
    assert "`--through` does what they wait for" in told


def test_a_migration_whose_revision_is_not_applied_is_tried_and_all_is_as_it_was(
    project: Project, database: ScratchDatabase
) -> None:
    before = database.dump()
    facts = through(project)
    assert database.dump() == before
    assert facts["not_previewed"] == []
    assert facts["through"]["previewed"] == ["nick"]
    assert facts["through"]["revisions"] == [NICKNAMES]
    [sample] = rehearsal_of(facts, "nick")["samples"]
    assert sample["rows"] == 30
    assert {row["after"]["nick"] for row in sample["changes"]} == {"Fi"}


def test_one_that_depends_on_a_pending_one_sees_its_rows(project: Project, database: ScratchDatabase) -> None:
    project.write_revision(INDEXED, NICKNAMES, upgrade=ADD_INITIALS)
    project.write_script("initials", INITIALS, requires=INDEXED, depends_on=("full_name",))
    before = database.dump()
    facts = through(project, "initials")
    assert database.dump() == before
    assert facts["through"]["prepared"] == [{"name": "full_name", "rows": 30, "pending": 30}]
    [sample] = rehearsal_of(facts, "initials")["samples"]
    assert sample["changes"][0]["after"] == {"initials": "First1 Last1!"}


@pytest.mark.parametrize("is_async", [False, True])
def test_gates_on_the_way_are_taken_as_passed_with_their_data_done(
    project: Project, database: ScratchDatabase, is_async: bool
) -> None:
    write_env(project, is_async=is_async)
    write_gate(project, then='op.alter_column("people", "full_name", nullable=False)'
               if database.dialect == "postgresql" else "pass")  # fmt: skip
    project.write_revision(INDEXED, GATED, upgrade=ADD_INITIALS)
    project.write_script("initials", INITIALS, requires=INDEXED)
    before = database.dump()
    facts = through(project)
    assert database.dump() == before
    assert facts["through"]["gates_taken_as_passed"] == ["full_name"]
    assert facts["through"]["previewed"] == ["nick", "initials"]
    told = project.quick("run", "--dry-run", "--through").err
    assert "took the gate on full_name as passed" in told
    assert "did 30 of 30 rows of full_name" in told


def test_the_place_of_the_preview_is_told(project: Project, database: ScratchDatabase) -> None:
    told = project.quick("run", "--dry-run", "--through").err
    place = (
        "On a copy of the database (" if database.dialect == "sqlite" else "In one transaction, rolled back"
    )
    assert place in told
    copied = through(project)["through"]["copied_bytes"]
    assert (copied or 0) > 0 if database.dialect == "sqlite" else copied is None


def test_a_revision_that_fails_is_the_reason_for_all_behind_it(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_revision(NICKNAMES, PEOPLE, upgrade='op.execute("UPDATE nowhere SET x = 1")')
    before = database.dump()
    facts = through(project)
    assert database.dump() == before
    [unseen] = facts["not_previewed"]
    assert unseen["name"] == "nick"
    assert f"revision {NICKNAMES} cannot be applied in a preview: " in unseen["reason"]
    assert "nowhere" in unseen["reason"]


def test_what_comes_before_a_revision_that_fails_is_previewed(project: Project) -> None:
    project.write_revision(INDEXED, NICKNAMES, upgrade='op.execute("UPDATE nowhere SET x = 1")')
    project.write_script("a_later_one", INITIALS, requires=INDEXED)
    facts = through(project)
    assert facts["through"]["previewed"] == ["nick"]
    assert [unseen["name"] for unseen in facts["not_previewed"]] == ["a_later_one"]


def test_a_gate_that_can_never_open_is_the_reason(project: Project) -> None:
    write_gate(project, "later")
    project.write_script("later", requires=GATED)
    facts = through(project)
    assert facts["through"]["previewed"] == ["nick"]
    [unseen] = facts["not_previewed"]
    assert unseen["reason"].startswith("Schema and data wait for each other")


@pytest.mark.parametrize(
    "statement",
    [
        'op.create_index("ix", "people", ["first"], postgresql_concurrently=True)',
        'with op.get_context().autocommit_block():\n        op.execute("SELECT 1")',
    ],
    ids=["concurrently", "autocommit_block"],
)
def test_a_revision_that_cannot_run_in_a_transaction_is_said_to_be_in_the_way(
    project: Project, database: ScratchDatabase, statement: str
) -> None:
    project.write_revision(
        NICKNAMES, PEOPLE, upgrade=f'op.add_column("people", sa.Column("nick", sa.Text))\n    {statement}'
    )
    before = database.dump()
    facts = through(project)
    assert database.dump() == before
    if database.dialect == "sqlite":
        assert facts["through"]["previewed"] == ["nick"]
    else:
        [unseen] = facts["not_previewed"]
        assert "transaction" in unseen["reason"]


def test_a_migration_that_would_fail_there_is_shown_with_its_error(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script(
        "nick", NICK.replace("return", "assert row.first == ''\n    return"), requires=NICKNAMES
    )
    project.write_script("initials", FULL_NAME, depends_on=("nick",))
    facts = through(project, exits=1)
    assert "AssertionError" in rehearsal_of(facts, "nick")["error"]["message"]
    [unseen] = facts["not_previewed"]
    assert unseen["reason"].startswith("nick, which comes before it, would fail")


def test_one_that_changes_the_schema_is_refused_there_too(
    project: Project, database: ScratchDatabase
) -> None:
    body = 'async def migrate(session):\n    await session.execute(sa.text("DROP TABLE people"))\n'
    project.write_script("nick", body, requires=NICKNAMES)
    before = database.dump()
    facts = through(project, exits=1)
    assert database.dump() == before
    assert "changes the schema" in rehearsal_of(facts, "nick")["error"]["message"]


def test_a_role_that_may_only_read_is_told_why(tmp_path: Path, postgres_database: ScratchDatabase) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.upgrade(PEOPLE)
    project.write_script("nick", NICK, requires=NICKNAMES)
    postgres_database.script(
        "CREATE ROLE through_reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO through_reader"
    )
    url = postgres_database.engine.url.set(username="through_reader").render_as_string(hide_password=False)
    try:
        [unseen] = through(project.having({"DATABASE_URL": url}))["not_previewed"]
    finally:
        postgres_database.script("DROP OWNED BY through_reader; DROP ROLE through_reader")
    assert "must be owner" in unseen["reason"]


def test_the_reference_application_is_previewed_from_its_first_revision(database: ScratchDatabase) -> None:
    upgrade_chat(database, "8a6ada1e0883")
    database.execute(
        "INSERT INTO users (id, first_name, last_name, email, created_at) "
        "VALUES (1, 'Ada', 'Byron', ' Ada@Example.org ', CURRENT_TIMESTAMP)"
    )
    before = database.dump()
    facts = through(Project(ROOT, {"DATABASE_URL": database.url}))
    assert database.dump() == before
    assert facts["not_previewed"] == []
    assert HEAD not in facts["through"]["revisions"]
    [sample] = rehearsal_of(facts, "normalise_email")["samples"]
    assert sample["rows"] == 1


def test_what_is_prepared_only_in_part_is_said(
    project: Project, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previewing, "MOST_PREPARED", 20)
    monkeypatch.setattr(previewing, "BATCH", Pace(10, 1000))
    project.write_revision(INDEXED, NICKNAMES, upgrade=ADD_INITIALS)
    project.write_script("initials", INITIALS, requires=INDEXED, depends_on=("full_name",))
    before = database.dump()
    assert through(project)["through"]["prepared"] == [{"name": "full_name", "rows": 20, "pending": 30}]
    [sample] = rehearsal_of(through(project, "--sample", "5"), "initials")["samples"]
    assert [(sample["where"], sample["rows"])] == [("beginning", 5)]
    told = project.quick("run", "--dry-run", "--through").err
    assert "did 20 of 30 rows of full_name" in told
    assert "The data of full_name was there only in part" in told
    assert database.dump() == before


def test_a_revision_that_fails_for_data_prepared_in_part_is_told_with_that(
    tmp_path: Path, postgres_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previewing, "MOST_PREPARED", 20)
    monkeypatch.setattr(previewing, "BATCH", Pace(10, 1000))
    project = hooked(tmp_path / "project", postgres_database)
    project.upgrade(PEOPLE)
    add_people(postgres_database, 30)
    project.write_script("full_name")
    write_gate(project, then='op.alter_column("people", "full_name", nullable=False)')
    project.write_script("nick", NICK, requires=GATED)
    [unseen] = through(project)["not_previewed"]
    assert "contains null values (the data of full_name was prepared only in part)" in unseen["reason"]


@pytest.mark.parametrize("free", [FREE, FREE_AND_COUNTED], ids=["free", "counted"])
def test_a_free_form_that_others_stand_on_is_done_whole(
    project: Project, database: ScratchDatabase, free: str
) -> None:
    project.write_script("full_name", free)
    project.write_revision(INDEXED, NICKNAMES, upgrade=ADD_INITIALS)
    project.write_script("initials", INITIALS, requires=INDEXED, depends_on=("full_name",))
    before = database.dump()
    [sample] = rehearsal_of(through(project, "initials"), "initials")["samples"]
    assert database.dump() == before
    assert sample["changes"][0]["after"] == {"initials": "free!"}


def test_a_table_that_somebody_has_locked_is_waited_for_shortly(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.upgrade(PEOPLE)
    project.write_script("nick", NICK, requires=NICKNAMES)
    with postgres_database.engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE people IN ACCESS SHARE MODE")
        [unseen] = through(project)["not_previewed"]
    assert "lock timeout" in unseen["reason"]


def test_no_room_for_a_copy_is_the_reason(
    tmp_path: Path, sqlite_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = hooked(tmp_path / "project", sqlite_database)
    project.upgrade(PEOPLE)
    project.write_script("nick", NICK, requires=NICKNAMES)
    monkeypatch.setattr(ahead, "disk_usage", lambda _: SimpleNamespace(free=100))
    [unseen] = through(project)["not_previewed"]
    assert "has 100 left. Set TMPDIR to a directory with more room" in unseen["reason"]


SLOW_REVISION = """
    op.add_column("people", sa.Column("nick", sa.Text))
    import pathlib, time
    pathlib.Path({flag!r}).touch()
    while True:
        op.execute("SELECT 1")
        time.sleep(0.01)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_breaking_it_off_leaves_nothing_behind(
    tmp_path: Path, project: Project, database: ScratchDatabase, sent: signal.Signals
) -> None:
    flag, temporary = tmp_path / "flag", tmp_path / "temporary"
    temporary.mkdir()
    project.write_revision(NICKNAMES, PEOPLE, upgrade=SLOW_REVISION.format(flag=str(flag)).strip())
    before = database.dump()
    with ended(project.start("run", "--dry-run", "--through", TMPDIR=str(temporary))) as process:
        while not flag.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        assert bool(list(temporary.iterdir())) == (database.dialect == "sqlite")
        process.send_signal(sent)
        assert process.wait(20) == 130
    assert list(temporary.iterdir()) == []
    assert database.dump() == before


def test_the_way_there_is_bounded_in_time(
    tmp_path: Path, project: Project, database: ScratchDatabase
) -> None:
    project.write_revision(
        NICKNAMES, PEOPLE, upgrade=SLOW_REVISION.format(flag=str(tmp_path / "flag")).strip()
    )
    before = database.dump()
    [unseen] = through(project)["not_previewed"]
    assert "the way there took more than" in unseen["reason"]
    assert database.dump() == before


def test_nobody_is_left_with_a_changed_database_by_an_env_py_that_connects_by_itself(
    project: Project, database: ScratchDatabase
) -> None:
    through(project)
    assert revision_of(database) == [PEOPLE]


def keeping_names(tmp_path: Path, database: ScratchDatabase, count: int) -> Project:
    """A project in which nobody can get a name that is not kept, at the latest when the transaction commits."""
    project = hooked(tmp_path / "project", database)
    project.upgrade(NICKNAMES)
    add_people(database, count)
    database.script(
        "CREATE TABLE names (full_name text PRIMARY KEY);"
        "INSERT INTO names SELECT first || ' ' || last FROM people;"
        "ALTER TABLE people ADD FOREIGN KEY (full_name) REFERENCES names DEFERRABLE INITIALLY DEFERRED"
    )
    project.write_script("full_name")
    return project


def test_what_is_put_off_to_a_commit_is_done_where_a_run_would_commit(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = keeping_names(tmp_path, postgres_database, 30)
    late = f'op.alter_column("people", "full_name", nullable=False); {ADD_INITIALS}'
    write_gate(project, then=late)
    in_between = """
@each_batch(people, pending=people.c.initials.is_(None))
async def migrate(batch):
    for name in ("nobody", people.c.first + " " + people.c.last):
        await batch.execute(sa.update(people).where(batch.rows).values(full_name=name))
    await batch.execute(sa.update(people).where(batch.rows).values(initials="x"))
"""
    columns = 'people.append_column(sa.column("initials", sa.Text))\n'
    project.write_script("initials", columns + in_between, requires=GATED)
    before = postgres_database.dump()
    facts = through(project)
    assert postgres_database.dump() == before
    assert facts["not_previewed"] == []
    assert facts["through"]["previewed"] == ["initials"]


def test_what_would_fail_at_a_commit_on_the_way_ends_it(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = keeping_names(tmp_path, postgres_database, 1500)
    postgres_database.execute("DELETE FROM names WHERE full_name LIKE 'First700 %'")
    write_gate(project, then=ADD_INITIALS)
    project.write_script("initials", INITIALS, requires=GATED)
    facts = through(project, "initials")
    [unseen] = facts["not_previewed"]
    assert "full_name, which comes before it, would fail" in unseen["reason"]
