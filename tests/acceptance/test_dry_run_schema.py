"""A dry run's JSON is as docs/dry-run.schema.json says. `Project.json` holds every one against it; here are
the cases that must not be missing, and what the schema refuses."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

import dry_run_schema
from databases import ScratchDatabase
from projects import FULL_NAME, NICK, NICKNAMES, PEOPLE, Project, add_people

FORMS = {
    "update": FULL_NAME,
    "compute": NICK,
    "delete": "migrate = delete_rows(people, pending=people.c.id > 3)\n",
    "batch": """
@each_batch(people, pending=people.c.nick.is_(None))
async def migrate(batch):
    await batch.execute(sa.update(people).where(batch.rows).values(nick="x"))
""",
    "free": """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET nick = 'x' WHERE nick IS NULL"))
""",
}


def dry_run(project: Project, *arguments: str, exits: int | None = 0) -> dict[str, Any]:
    return project.json("run", "--dry-run", *arguments, exits=exits)


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(dry_run_schema.SCHEMA)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_told_as_documented(project: Project, database: ScratchDatabase, form: str) -> None:
    add_people(database, 30)
    project.write_script("one", FORMS[form])
    facts = dry_run(project)
    assert facts["schema"] == 1
    assert [rehearsal["name"] for rehearsal in facts["rehearsals"]] == ["one"]


def test_what_is_previewed_and_what_is_not_is_told_as_documented(
    project: Project, database: ScratchDatabase
) -> None:
    project.downgrade(PEOPLE)
    add_people(database, 3)
    project.write_revision("beef00000001", NICKNAMES, upgrade='op.execute("UPDATE nowhere SET x = 1")')
    project.write_script("full_name", FULL_NAME)
    project.write_script("nick", NICK, requires=NICKNAMES, depends_on=("full_name",))
    project.write_script("never", FULL_NAME, requires="beef00000001")
    facts = dry_run(project, "--through")
    assert facts["through"]["previewed"] == ["nick"]
    assert facts["through"]["prepared"]
    assert facts["not_previewed"]


def test_what_fails_is_told_as_documented(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 3)
    project.write_script("one", NICK.replace("return", "raise ValueError\n    return"))
    project.write_file("broken.py", "name = 1 / 0\n")
    facts = dry_run(project, exits=1)
    assert facts["rehearsals"][0]["error"]
    assert facts["problems"]


def test_a_call_that_fails_as_a_whole_is_told_as_documented(project: Project) -> None:
    assert dry_run(project, "nobody", exits=2)["error"] == "UnknownMigration"


def test_what_is_not_documented_is_refused(project: Project) -> None:
    facts = dry_run(project)
    for wrong in ({"schema": 2}, {"unheard_of": 1}, {"rehearsals": [{"name": "one"}]}, {"heads": None}):
        with pytest.raises(AssertionError):
            dry_run_schema.check(facts | wrong)
