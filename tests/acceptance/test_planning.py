"""What comes when, what has to wait and for what, and what is wrong with the scripts."""

from __future__ import annotations

import pytest

from databases import ScratchDatabase
from projects import FULL_NAME, NICK, NICKNAMES, PEOPLE, Project, add_people, named_people

NOTHING = "async def migrate(session):\n    pass"
SIDE = "3c4d5e6f7081"  # a branch of its own, labelled
TWIN = "2b3c99998888"  # begins like NICKNAMES
BATCHES_OF_2 = FULL_NAME.replace("pending=", "batch_size=2, pending=")


def order(project: Project) -> list[str]:
    return [step["name"] for step in project.json("plan")["steps"]]


def actions(project: Project, exits: int = 0) -> dict[str, str]:
    return {step["name"]: step["action"] for step in project.json("plan", exits=exits)["steps"]}


def write_branches(project: Project) -> None:
    project.write_revision(SIDE, None, labels=("side",))
    project.write_revision(TWIN, PEOPLE)


def test_the_order_is_dependencies_then_the_schema_then_the_file_name(project: Project) -> None:
    project.write_script("late", NOTHING, file="01_late.py", requires=NICKNAMES)
    project.write_script("early_b", NOTHING, file="03_b.py", requires=PEOPLE)
    project.write_script("early_a", NOTHING, file="02_a.py", requires=PEOPLE)
    project.write_script("first", NOTHING, file="04_first.py", requires=())
    project.write_script("last", NOTHING, file="00_last.py", depends_on=("late",))
    assert order(project) == ["first", "early_a", "early_b", "late", "last"]
    project.quick("run")
    runs = project.json("show", "last")["transitions"]
    assert runs[-1]["after"] == "done"


def test_a_step_that_is_blocked_names_the_revision_and_holds_up_its_dependants(
    project: Project, database: ScratchDatabase
) -> None:
    project.downgrade(PEOPLE)
    add_people(database, 3)
    project.write_script("nick", NICK, requires=NICKNAMES)
    project.write_script("after_nick", NOTHING, depends_on=("nick",))
    project.write_script("full_name")
    plan = project.json("plan")
    steps = {step["name"]: step for step in plan["steps"]}
    assert steps["nick"]["waits_for_revisions"] == [NICKNAMES]
    assert steps["after_nick"]["action"] == "blocked"
    assert steps["after_nick"]["reason"] == "depends on nick, which cannot run yet"
    told = project.quick("run", exits=4).err
    assert f"nick: blocked, needs revision {NICKNAMES}, which is not applied" in told
    assert "after_nick: blocked" in told
    assert named_people(database) == 3
    project.upgrade()
    project.quick("run")
    assert set(actions(project).values()) == {"done"}


def test_revisions_are_named_as_alembic_lets_one_name_them(project: Project) -> None:
    project.write_revision(SIDE, None, labels=("side",))
    project.write_script("partial", NOTHING, requires=NICKNAMES[:5])
    project.write_script("label", NOTHING, requires="side@head")
    project.write_script("several", NOTHING, requires=(PEOPLE[:4], NICKNAMES))
    assert actions(project) == {"partial": "run", "several": "run", "label": "blocked"}
    (blocked,) = [s for s in project.json("plan")["steps"] if s["action"] == "blocked"]
    assert blocked["waits_for_revisions"] == [SIDE]
    project.upgrade("heads")
    assert actions(project) == {"partial": "run", "several": "run", "label": "run"}


def test_a_revision_counts_as_applied_when_a_later_one_stands_on_it(project: Project) -> None:
    project.write_revision(SIDE, NICKNAMES)
    project.upgrade()
    project.write_script("old", NOTHING, requires=PEOPLE)
    assert actions(project) == {"old": "run"}


def test_unknown_and_ambiguous_revisions_are_errors_that_name_the_file(project: Project) -> None:
    project.write_revision(TWIN, PEOPLE)
    ambiguous = project.write_script("ambiguous", NOTHING, requires="2b3c")
    unknown = project.write_script("unknown", NOTHING, requires="ffffffff")
    project.write_script("after", NOTHING, depends_on=("unknown",))
    project.write_script("fine", NOTHING)
    outcome = project.quick("plan", exits=1)
    assert f"Error: {ambiguous}: requires names '2b3c', which Alembic does not resolve" in outcome.err
    assert NICKNAMES in outcome.err, "the candidates are named"
    assert f"Error: {unknown}: requires names 'ffffffff'" in outcome.err
    assert "`alembic history`" in outcome.err
    assert outcome.err.count("Error: ") == 2, "what depends on them has no fault of its own"
    assert actions(project, exits=1) == {"fine": "run", "after": "blocked"}
    project.quick("run", exits=1)
    assert actions(project, exits=1)["fine"] == "run", "a run with broken scripts begins nothing"
    project.quick("run", "--keep-going", exits=1)
    assert actions(project, exits=1)["fine"] == "done"


def test_unknown_and_circular_dependencies_are_errors_that_name_the_files(project: Project) -> None:
    a = project.write_script("a", NOTHING, depends_on=("b",))
    b = project.write_script("b", NOTHING, depends_on=("c",))
    c = project.write_script("c", NOTHING, depends_on=("a",))
    lost = project.write_script("lost", NOTHING, depends_on=("full_nam",))
    project.write_script("full_name")
    told = project.quick("plan", exits=1).err
    assert (
        f"Error: {lost}: depends_on names 'full_nam', which no script has.\nDid you mean 'full_name'?" in told
    )
    assert "These data migrations wait for each other:" in told
    for file in (a, b, c):
        assert str(file) in told
    assert actions(project, exits=1) == {"full_name": "run", "lost": "blocked"}
    project.quick("run", "full_name")
    told = project.quick("run", "lost", exits=1).err
    assert "lost: blocked, depends on full_nam, which cannot run yet" in told


def test_two_scripts_of_one_name_are_an_error_that_names_both_files(project: Project) -> None:
    first = project.write_script("full_name", file="1.py")
    second = project.write_script("full_name", file="2.py")
    project.write_script("other", NOTHING)
    told = project.quick("run", exits=1).err
    assert f"{first} and {second} are both named 'full_name'." in told
    assert actions(project, exits=1) == {"other": "run"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("import sqlalchemy\nimport shop.models\n", 2, "No module named 'shop'"),
        ("name = 'x'\ndef migrate(session:\n", 2, "was never closed"),
        (
            "name = 'x'\nrequires = ()\n\ndef migrate(session):\n    pass\n",
            4,
            "`migrate` is not asynchronous",
        ),
        ("name = 'x'\nrequires = ()\nasync def migrate():\n    pass\n", 3, "must take one parameter"),
        ("name = 'x'\nrequires = ()\nasync def upgrade(session):\n    pass\n", 3, "a function upgrade"),
        ("name = 'x'\nrequired = ()\nasync def migrate(s):\n    pass\n", 2, "`required` has no meaning here"),
        ("requires = ()\nasync def migrate(session):\n    pass\n", None, "`name` is missing"),
        ("name = 'x'\nasync def migrate(session):\n    pass\n", None, "`requires` is missing"),
        ("name = 'an x'\nrequires = ()\n", None, "`migrate` is missing"),
        ("name = 'x'\n\n\n1 / 0\n", 4, "ZeroDivisionError: division by zero"),
        ("raise SystemExit\n", 1, "sys.exit()"),
        ("", None, "`migrate` is missing"),
    ],
)
def test_a_broken_script_is_told_with_its_line_and_hides_no_other(
    sqlite_project: Project, text: str, line: int | None, words: str
) -> None:
    sqlite_project.write_script("full_name")
    broken = sqlite_project.write_file("broken.py", text)
    place = f"Error: {broken}:{line}: " if line else f"Error: {broken}: "
    for verb in ("list", "plan", "status"):
        outcome = sqlite_project.quick(verb, exits=1)
        assert place in outcome.err
        assert words in outcome.err
        assert "full_name" in outcome.out
    assert words in sqlite_project.quick("run", exits=1).err
    sqlite_project.quick("run", "full_name", exits=0)


def test_a_script_that_is_edited_after_it_was_done_has_drifted(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 3)
    project.write_script("full_name")
    project.quick("run")
    project.write_script("full_name", "# why\n" + FULL_NAME.replace("pending=", "batch_size=7, pending="))
    assert actions(project) == {"full_name": "done"}, "comments and tuning do not count"
    project.write_script("full_name", FULL_NAME.replace('" "', '", "'))
    assert actions(project) == {"full_name": "drifted"}
    told = project.quick("run").err
    assert "full_name: drifted, the script was edited after it was done" in told
    assert named_people(database) == 3, "it is not run again of its own accord"


def test_a_file_may_be_renamed_but_its_name_stays(project: Project, database: ScratchDatabase) -> None:
    script = project.write_script("full_name")
    project.quick("run")
    script.rename(project.scripts / "20270101_populate.py")
    assert actions(project) == {"full_name": "done"}


def test_a_migration_whose_source_was_dropped_is_obsolete(project: Project) -> None:
    project.write_script("full_name", f'until = "{NICKNAMES}"\n' + FULL_NAME)
    project.write_script("after", NOTHING, depends_on=("full_name",))
    assert actions(project) == {"full_name": "obsolete", "after": "run"}
    (reason,) = [s["reason"] for s in project.json("plan")["steps"] if s["name"] == "full_name"]
    assert reason == f"revision {NICKNAMES} has dropped what it reads"
    project.quick("run")
    assert actions(project) == {"full_name": "obsolete", "after": "done"}
    project.quick("plan", "--exit-code")
    project.downgrade(PEOPLE)
    assert actions(project)["full_name"] == "run"


def test_a_script_that_is_edited_while_it_is_stopped_starts_again_and_every_row_is_right(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 7)
    project.write_script("full_name", BATCHES_OF_2)
    project.quick("run", "--max-batches", "2", exits=75)
    assert named_people(database) == 4
    edited = BATCHES_OF_2.replace(
        "people.c.full_name.is_(None)",
        'sa.or_(people.c.full_name.is_(None), people.c.full_name.not_like("%!"))',
    ).replace("people.c.last}", 'people.c.last + "!"}')
    project.write_script("full_name", edited)
    assert "edited since: starts again from the first row" in project.quick("plan").out
    project.quick("run")
    assert database.scalar("SELECT count(*) FROM people WHERE full_name = first || ' ' || last || '!'") == 7


def test_a_database_at_a_revision_that_the_files_do_not_have_exits_4(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("full_name")
    database.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
    before = database.dump()
    for verb in ("plan", "status", "run"):
        told = project.quick(verb, exits=4).err
        assert "Error: The database is at revision fedcba987654, which is not among the files in" in told
        assert "Check out the code that the database was upgraded with" in told
    assert database.dump() == before


def test_a_ledger_that_is_newer_than_the_program_is_left_alone(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("full_name")
    project.quick("run")
    database.execute("UPDATE datamigrate_ledger SET version = 99, program = '7.1'")
    before = database.dump()
    for call in (("plan",), ("status",), ("history",), ("run",), ("reset", "full_name")):
        told = project.quick(*call, exits=1).err
        assert "The ledger has version 99, made by datamigrate 7.1" in told
        assert "Upgrade datamigrate on this host. Nothing was changed." in told
    assert database.dump() == before


def test_a_schema_without_any_revision_blocks_all_that_require_one(
    project: Project, database: ScratchDatabase
) -> None:
    project.downgrade("base")
    project.write_script("full_name")
    project.write_script("free", NOTHING, requires=())
    assert actions(project) == {"free": "run", "full_name": "blocked"}
    project.quick("run", exits=4)
    assert actions(project) == {"free": "done", "full_name": "blocked"}
