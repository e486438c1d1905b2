"""`datamigrate upgrade`: schema up to a gate, the data behind it, on to the target, then the rest of the data."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from beside import GATED, INDEXED, alembic, hooked, moves, revision_of, states, write_env, write_gate
from databases import CHAT_USERS, EXPANDED, HEAD, ROOT, ScratchDatabase, sqlite_at
from projects import (
    FULL_NAME,
    NICK,
    NICKNAMES,
    PEOPLE,
    Project,
    add_people,
    count_writes,
    named_people,
    project_in,
    writes,
)

SIDE = "5e6f7a8b9ca3"
MERGE = "6f7a8b9cadb4"
ALONE = "7a8b9cadbec5"
KEEP_LAST = 'op.create_index("ix_people_full_name", "people", ["full_name"])'

# Kills the process that comes by for the first time.
DIE = """
def die(point):
    import os, pathlib, signal

    flag = pathlib.Path({root!r}) / f"died_{{point}}"
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""
FATAL_FULL_NAME = """
@each_batch(people, pending=people.c.full_name.is_(None), batch_size=10)
async def migrate(batch):
    full_name = people.c.first + " " + people.c.last
    await batch.execute(sa.update(people).where(batch.rows).values(full_name=full_name))
    if batch.number in (1, 3):
        die(f"full_name_{batch.number}")
"""
FATAL_NICK = """
@compute_rows(people, pending=people.c.nick.is_(None), reads=[people.c.id], writes=[people.c.nick], batch_size=10)
def migrate(row):
    if row.id == 1:
        die("nick_1")
    return {"nick": str(row.id)}
"""
# The application writes a row in the old form just before the gate looks, as often as `busy` says.
BUSY = """
    import pathlib
    from alembic import context
    busy = pathlib.Path({busy!r})
    if not context.is_offline_mode() and (times := int(busy.read_text())):
        busy.write_text(str(times - 1))
        other = sa.create_engine({url!r}, poolclass=sa.pool.NullPool)
        with other.begin() as theirs:
            theirs.exec_driver_sql("INSERT INTO people (id, first, last) SELECT max(id) + 1, 'Old', 'Form' FROM people")
"""


@pytest.fixture
def project(tmp_path: Path, database: ScratchDatabase) -> Project:
    """A project whose gate waits for `full_name`, with `nick` to be done besides; its database is empty."""
    project = hooked(tmp_path / "project", database)
    project.write_script("full_name")
    project.write_script("nick", NICK, requires=NICKNAMES)
    write_gate(project, then=KEEP_LAST)
    return project


def legs(project: Project, *arguments: str) -> list[Any]:
    """The way as `plan` tells it: a list of revisions for schema, a name for data."""
    told = project.json("plan", "--upgrade", *arguments)["legs"]
    return [leg.get("data") or leg["schema"] for leg in told]


# From nothing to head


def test_the_reference_application_goes_from_nothing_to_head_in_one_command(
    database: ScratchDatabase,
) -> None:
    project = Project(ROOT, {"DATABASE_URL": database.url})
    told = project.datamigrate("upgrade").err
    assert revision_of(database) == [HEAD]
    assert set(states(project).values()) <= {"done", "obsolete"}
    assert f"{HEAD}" in told
    assert project.quick("upgrade").err == "Nothing to do.\n"


def test_the_reference_application_goes_from_expanded_to_head_with_all_its_rows(
    chat_database: ScratchDatabase,
) -> None:
    project = Project(ROOT, {"DATABASE_URL": chat_database.url})
    assert revision_of(chat_database) == [EXPANDED]
    project.quick("upgrade", "-q")
    assert revision_of(chat_database) == [HEAD]
    assert chat_database.scalar("SELECT count(*) FROM users WHERE full_name <> ''") == CHAT_USERS
    assert set(states(project).values()) == {"done"}


def test_a_project_goes_from_nothing_to_head_in_one_command(
    project: Project, database: ScratchDatabase
) -> None:
    told = project.quick("upgrade").err
    done = [line for line in told.splitlines() if "starts" not in line]
    assert done[0] == f"schema: applied {PEOPLE}, {NICKNAMES}"
    assert done[1].startswith("full_name: done and verified, 0 rows")
    assert done[2] == f"schema: applied {GATED}"
    assert done[3].startswith("nick: done and verified, 0 rows")
    assert revision_of(database) == [GATED]
    assert states(project) == {"full_name": "done", "nick": "done"}
    assert project.quick("upgrade").err == "Nothing to do.\n"


def test_an_async_env_py_and_one_transaction_for_all_do_as_well(
    project: Project, database: ScratchDatabase
) -> None:
    write_env(project, is_async=True, options="")
    project.upgrade(PEOPLE)
    add_people(database, 5)
    project.quick("upgrade")
    assert revision_of(database) == [GATED]
    assert named_people(database) == 5


def test_an_env_py_without_hooks_does_as_well(tmp_path: Path, database: ScratchDatabase) -> None:
    project = project_in(tmp_path / "project", database)
    project.write_script("full_name")
    write_gate(project, then=KEEP_LAST)
    project.quick("upgrade", PEOPLE)
    add_people(database, 3)
    project.quick("upgrade")
    assert revision_of(database) == [GATED]
    assert named_people(database) == 3


# The plan


def test_the_plan_shows_the_interleaving_and_writes_nothing(
    project: Project, database: ScratchDatabase
) -> None:
    way = [[PEOPLE, NICKNAMES], "full_name", [GATED], "nick"]
    assert legs(project) == way
    file = Path(str(database.engine.url.database))
    assert database.dialect != "sqlite" or not file.exists(), "not even the file"
    project.upgrade(NICKNAMES)
    add_people(database, 3)
    before = database.dump()
    shown = project.quick("plan", "--upgrade")
    assert "full_name" in shown.out
    assert f"revision {GATED} waits for it" in shown.out
    assert "3 legs: `datamigrate upgrade heads`." in shown.err
    assert database.dump() == before
    assert project.quick("plan", "--upgrade", "--exit-code", exits=3)
    project.quick("upgrade")
    assert legs(project) == []
    assert "Nothing to do." in project.quick("plan", "--upgrade", "--exit-code").err


def test_a_target_may_be_a_revision_a_step_or_all_heads(project: Project, database: ScratchDatabase) -> None:
    assert legs(project, "--to", PEOPLE) == [[PEOPLE], "full_name"]
    assert legs(project, "--to", "+1") == [[PEOPLE], "full_name"]
    assert legs(project, "--to", PEOPLE[:4]) == [[PEOPLE], "full_name"]
    assert legs(project, "--to", "head") == legs(project, "--to", "heads") == legs(project)
    told = project.json("plan", "--to", PEOPLE)["left"]
    assert [step["name"] for step in told] == ["nick"]
    project.quick("upgrade", "+1")
    assert revision_of(database) == [PEOPLE]
    add_people(database, 3)
    project.quick("upgrade", NICKNAMES)
    assert revision_of(database) == [NICKNAMES]
    assert database.scalar("SELECT count(*) FROM people WHERE nick IS NULL") == 0
    assert legs(project, "--to", "+1") == [[GATED]], "full_name is done, as far as is remembered"
    project.quick("upgrade", "heads")
    assert revision_of(database) == [GATED]
    assert named_people(database) == 3


def test_a_target_that_is_behind_is_nothing_to_do_and_an_unknown_one_is_told(
    project: Project, database: ScratchDatabase
) -> None:
    project.quick("upgrade")
    before = database.dump()
    assert "Nothing to do." in project.quick("upgrade", PEOPLE).err
    for target in ("ffffffff", "+9"):
        told = project.quick("upgrade", target, exits=2).err
        assert f"Alembic does not find a way to '{target}'" in told
        assert "`alembic history`" in told
    assert database.dump() == before


# Killed


def test_killed_at_any_point_it_goes_on_where_it_was_and_every_row_is_done_once(
    tmp_path: Path, database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", database)
    project.upgrade(PEOPLE)
    add_people(database, 60)
    count_writes(database)
    die = DIE.format(root=str(project.root))
    project.write_script("full_name", die + FATAL_FULL_NAME, requires=PEOPLE)
    project.write_script("nick", die + FATAL_NICK, requires=GATED)
    write_gate(project, then=f"die('behind_the_gate')\n    {KEEP_LAST}")
    gate = project.root / "alembic" / "versions" / f"{GATED}.py"
    gate.write_text(gate.read_text() + die)
    project.write_revision(INDEXED, GATED, upgrade="op.require_data('nick')\n    die('at_the_end')")
    last = project.root / "alembic" / "versions" / f"{INDEXED}.py"
    last.write_text(last.read_text() + die)

    points = ["full_name_1", "full_name_3", "behind_the_gate", "nick_1", "at_the_end"]
    for point in points:
        assert not (project.root / f"died_{point}").exists()
        assert project.datamigrate("upgrade", exits=-signal.SIGKILL)
        assert (project.root / f"died_{point}").exists()
    project.quick("upgrade")
    assert revision_of(database) == [INDEXED]
    assert named_people(database) == 60
    assert database.scalar("SELECT count(*) FROM people WHERE nick IS NULL") == 0
    assert writes(database) == [(2, 60)], "once for each of the two migrations"
    assert states(project) == {"full_name": "done", "nick": "done"}


def test_a_time_limit_stops_it_cleanly_between_batches(project: Project, database: ScratchDatabase) -> None:
    project.write_script("full_name", FULL_NAME.replace("pending=", "batch_size=2, pending="))
    project.upgrade(PEOPLE)
    add_people(database, 6)
    told = project.quick("upgrade", "--max-batches", "2", exits=75).err
    assert "`datamigrate upgrade heads` goes on" in told
    assert named_people(database) == 4
    assert revision_of(database) == [NICKNAMES]
    project.quick("upgrade")
    assert named_people(database) == 6
    assert revision_of(database) == [GATED]


def test_a_migration_that_fails_stops_the_schema_before_its_gate(
    project: Project, database: ScratchDatabase
) -> None:
    project.upgrade(PEOPLE)
    add_people(database, 3)
    project.write_script("full_name", FULL_NAME.replace('" "', "sa.func.nonsense()"))
    told = project.quick("upgrade", exits=1).err
    assert "nonsense" in told
    assert revision_of(database) == [NICKNAMES]
    project.write_script("full_name")
    project.quick("upgrade")
    assert revision_of(database) == [GATED]


def test_a_revision_that_fails_is_told_with_its_name_and_what_to_do(
    project: Project, database: ScratchDatabase
) -> None:
    write_gate(project, then='op.drop_table("nowhere")')
    told = project.quick("upgrade", exits=1).err
    assert f"Alembic cannot apply revision {GATED}" in told
    assert "nowhere" in told
    assert "Mend the revision, then `datamigrate upgrade` goes on." in told
    assert revision_of(database) == [NICKNAMES]
    write_gate(project, then=KEEP_LAST)
    project.quick("upgrade")
    assert revision_of(database) == [GATED]


# Histories that are no line


def test_branches_merges_and_dependencies_are_walked_parents_first(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_revision(SIDE, PEOPLE, upgrade='op.add_column("people", sa.Column("age", sa.Integer))')
    project.write_revision(MERGE, (GATED, SIDE), upgrade='op.require_data("nick")')
    alone = project.write_revision(ALONE, None, labels=("alone",))
    alone.write_text(alone.read_text().replace("branch_labels", f"depends_on = {MERGE!r}\nbranch_labels"))
    project.write_script("late", NICK, requires="alone@head")
    way = legs(project)
    order = [step for leg in way for step in (leg if isinstance(leg, list) else [leg])]
    assert sorted(order) == sorted(
        [PEOPLE, NICKNAMES, SIDE, GATED, MERGE, ALONE, "full_name", "nick", "late"]
    )
    for first, then in (
        (PEOPLE, SIDE),
        ("full_name", GATED),
        ("nick", MERGE),
        (GATED, MERGE),
        (SIDE, MERGE),
        (MERGE, ALONE),
        (ALONE, "late"),
    ):
        assert order.index(first) < order.index(then), (first, then)
    assert legs(project, "--to", "alone@head") == way
    assert legs(project, "--to", SIDE) == [[PEOPLE, SIDE], "full_name"]
    project.quick("upgrade", PEOPLE)
    add_people(database, 3)
    project.quick("upgrade", "heads")
    assert revision_of(database) == [ALONE], "of a revision and what it depends on only the first is listed"
    assert set(states(project).values()) == {"done"}
    assert "Nothing to do." in project.quick("upgrade").err


def test_several_heads_are_all_reached_and_head_alone_is_ambiguous(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_revision(SIDE, PEOPLE)
    told = project.quick("upgrade", "head", exits=2).err
    assert "head" in told
    project.quick("upgrade")
    assert revision_of(database) == sorted([GATED, SIDE])


# Circles


def test_a_gate_on_data_that_requires_a_later_revision_is_found_and_explained(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("nick", NICK, requires=INDEXED)
    write_gate(project, "nick", then=KEEP_LAST)
    project.write_revision(INDEXED, GATED)
    explained = (
        f"revision {GATED} waits for the data of nick, which requires revision {INDEXED}, "
        f"which comes after {GATED}."
    )
    told = project.quick("plan", "--upgrade", exits=1).err
    assert "Schema and data wait for each other" in told
    assert explained in told
    assert "Let the gate stand in a later revision" in told
    (finding,) = project.json("check", "--offline", exits=3)["findings"]
    assert finding["code"] == "broken-graph"
    assert explained in finding["message"]
    assert Path(finding["file"]).name == f"{GATED}.py"
    assert explained in project.quick("upgrade", exits=1).err
    assert not sa.inspect(database.engine).has_table("people"), "nothing was begun"


def test_a_circle_through_another_data_migration_is_explained_too(project: Project) -> None:
    project.write_script("nick", NICK, requires=INDEXED)
    project.write_script("full_name", depends_on=("nick",))
    project.write_revision(INDEXED, GATED)
    told = project.quick("plan", "--upgrade", exits=1).err
    assert f"revision {GATED} waits for the data of full_name" in told
    assert "nick, which requires revision" in told


def test_a_gate_on_a_name_that_nobody_knows_is_told_before_anything_is_begun(
    project: Project, database: ScratchDatabase
) -> None:
    write_gate(project, "fullname", then=KEEP_LAST)
    told = project.quick("upgrade", exits=1).err
    assert f"Revision {GATED} requires the data of 'fullname'" in told
    assert not sa.inspect(database.engine).has_table("people")
    (finding,) = project.json("check", "--offline", exits=3)["findings"]
    assert "'fullname'" in finding["message"]


# Two databases


@pytest.mark.parametrize("exists", [True, False])
def test_an_env_py_that_goes_to_another_database_is_refused(
    project: Project, database: ScratchDatabase, tmp_path: Path, exists: bool
) -> None:
    project.upgrade(PEOPLE)
    other = sqlite_at(tmp_path / "other.db")
    if exists:
        other.execute("CREATE TABLE theirs (id integer)")
    before = database.dump()
    for call in (("plan", "--upgrade"), ("upgrade",)):
        told = project.quick(*call, "--url", other.url, exits=2).err
        assert "other.db (from --url), but the project's env.py goes to" in told
        assert "Name one database for both" in told
    assert database.dump() == before
    assert (tmp_path / "other.db").exists() is exists


# An application that is at work meanwhile


def busy(project: Project, database: ScratchDatabase, times: int) -> None:
    """Let the application write a row in the old form at each of the gate's next looks."""
    file = project.root / "busy"
    file.write_text(str(times))
    gate = project.root / "alembic" / "versions" / f"{GATED}.py"
    insert = BUSY.format(busy=str(file), url=database.sync_url)
    gate.write_text(gate.read_text().replace("def upgrade():\n", f"def upgrade():{insert}"))


def test_rows_that_come_while_the_gate_is_passed_are_done_first(
    project: Project, database: ScratchDatabase
) -> None:
    project.upgrade(PEOPLE)
    add_people(database, 3)
    busy(project, database, 2)
    project.quick("upgrade")
    assert revision_of(database) == [GATED]
    assert named_people(database) == 5
    assert [move for move in moves(project, "full_name") if move[1] == "reopen"] == [
        ("done", "reopen", "pending")
    ] * 2


def test_rows_that_keep_coming_end_it_and_the_application_is_named_as_the_cause(
    project: Project, database: ScratchDatabase
) -> None:
    project.upgrade(PEOPLE)
    add_people(database, 3)
    busy(project, database, 100)
    told = project.quick("upgrade", exits=1).err
    assert "6 of 7 rows are done, 1 is pending" in told
    assert "The application still writes the old form" in told
    assert revision_of(database) == [NICKNAMES]
    (project.root / "busy").write_text("0")
    project.quick("upgrade")
    assert revision_of(database) == [GATED]
    assert named_people(database) == 7


# What programs read


def test_the_end_of_it_is_told_as_json(project: Project, database: ScratchDatabase) -> None:
    facts = json.loads(project.datamigrate("upgrade", "--json").out)
    assert facts["exit"] == 0
    assert facts["legs"][1] == {"data": "full_name", "opens": [GATED]}
    alembic(project, "downgrade", PEOPLE)
    assert legs(project) == [[NICKNAMES, GATED], "nick"]
