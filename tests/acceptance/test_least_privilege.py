"""A role made of the GRANTs that `doctor` prints can do a run's work, and one that lacks something is told what."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from databases import ScratchDatabase
from projects import FULL_NAME, NICK, NICKNAMES, Project, add_people, named_people, project_in

LOUD = """
@each_batch(people, pending=people.c.last != sa.func.upper(people.c.last), batch_size=3)
async def migrate(batch):
    await batch.execute(sa.update(people).where(batch.rows).values(last=sa.func.upper(people.c.last)))
"""
ORDERED = """
orders = sa.table("Order", sa.column("id", sa.Integer), sa.column("Who", sa.Integer), schema="crm")
migrate = delete_rows(orders, pending=sa.exists().where(people.c.id == orders.c.Who))
"""
INITIALS = """
@compute_rows(people, pending=people.c.full_name.is_(None), reads=[people.c.first, people.c.last], undo_log=True,
              writes=[people.c.full_name], on_row_error="quarantine", quarantine_values=True)
def migrate(row):
    return {"full_name": f"{row.first} {row.last[0]}."}
"""
OWN_WAY = (
    NICK
    + """
revert = update_rows(people, pending=people.c.nick.is_not(None), values={people.c.nick: None})
"""
)
FREE = """
async def migrate(session):
    await session.execute(sa.text("SELECT 1"))
"""


@dataclass(frozen=True)
class Clerk:
    """A role without rights, not yet made, and the project as its owner and as this role calls it."""

    role: str
    owner: Project
    project: Project
    database: ScratchDatabase

    def grants(self) -> list[str]:
        """Give the role what `doctor` prints, and return the statements."""
        printed = self.owner.quick("doctor", "--grants", self.role).out
        self.database.script(printed)
        return [line for line in printed.splitlines() if line.startswith("GRANT")]

    def doctor(self, exits: int = 0) -> list[str]:
        """What `doctor` says is wrong, asked by the role."""
        found = self.project.json("doctor", exits=exits)["diagnoses"]
        return [f"{d['about']}: {d['said']}" for d in found if d["verdict"] == "wrong"]


@pytest.fixture
def clerk(tmp_path: Path, postgres_database: ScratchDatabase) -> Iterator[Clerk]:
    """Scripts of every form in a database where nobody but its owner may do anything."""
    role = f"clerk_{secrets.token_hex(4)}"
    owner = project_in(tmp_path / "project", postgres_database)
    owner.upgrade()
    add_people(postgres_database, 7)
    postgres_database.script(
        'CREATE SCHEMA crm; CREATE TABLE crm."Order" (id serial PRIMARY KEY, "Who" integer);'
        'INSERT INTO crm."Order" ("Who") VALUES (1), (2), (99);'
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;"
        "DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()); END $$"
    )
    owner.write_script("full_name", FULL_NAME.replace("pending=", "batch_size=2, pending="), file="a.py")
    owner.write_script("nick", NICK, requires=NICKNAMES, file="b.py")
    owner.write_script("ordered", ORDERED, file="c.py")
    url = postgres_database.sync_url.replace("postgres@", f"{role}@")
    yield Clerk(role, owner, owner.having({"DATABASE_URL": url}), postgres_database)
    postgres_database.script(f"DROP OWNED BY {role}; DROP ROLE {role};")


def test_the_printed_grants_are_enough_for_every_verb_of_a_run(clerk: Clerk) -> None:
    grants = clerk.grants()
    assert f"GRANT USAGE, CREATE ON SCHEMA public TO {clerk.role};" in grants
    assert f"GRANT SELECT, UPDATE (full_name, nick) ON TABLE public.people TO {clerk.role};" in grants
    assert f'GRANT SELECT, DELETE ON TABLE crm."Order" TO {clerk.role};' in grants
    project = clerk.project
    assert clerk.doctor() == []
    for call in (
        ("plan",),
        ("run", "--dry-run"),
        ("run", "full_name", "--max-batches", "1"),
        ("pause", "full_name"),
        ("resume", "full_name"),
        ("tune", "nick", "--nice", "0.1"),
        ("cancel", "nick"),
        ("retry", "nick"),
        ("run",),
        ("status", "--count", "--check"),
        ("reset", "full_name"),
        ("stamp", "full_name"),
        ("show", "ordered"),
        ("history",),
        ("check",),
    ):
        project.quick(*call, exits=75 if "--max-batches" in call else 0)
    assert named_people(clerk.database) == 7
    assert clerk.database.scalar('SELECT count(*) FROM crm."Order"') == 1


def test_the_printed_grants_are_enough_to_undo_and_to_keep_what_a_row_in_quarantine_held(
    clerk: Clerk,
) -> None:
    clerk.owner.write_script("full_name", INITIALS, file="a.py")
    clerk.owner.write_script("nick", OWN_WAY, requires=NICKNAMES, file="b.py")
    clerk.owner.write_script("ordered", ORDERED.replace("pending=", "undo_log=True, pending="), file="c.py")
    clerk.owner.quick("pause", "nick")
    clerk.owner.quick("resume", "nick")
    grants = clerk.grants()
    assert f'GRANT SELECT, DELETE, INSERT ON TABLE crm."Order" TO {clerk.role};' in grants
    assert clerk.doctor() == []
    database, project = clerk.database, clerk.project
    before = database.rows('SELECT * FROM crm."Order" ORDER BY id'), people_in(database)
    database.execute("UPDATE people SET last = '' WHERE id = 3")
    project.quick("run", exits=6)
    assert database.scalar('SELECT count(*) FROM crm."Order"') == 1
    [row] = project.json("quarantine", "list", "full_name")["quarantine"]
    assert row["row"] == {"id": 3, "first": "First3", "last": "", "full_name": None, "nick": None}
    database.execute("UPDATE people SET last = 'Last3' WHERE id = 3")
    project.quick("retry", "full_name", "--quarantined")
    for name in ("ordered", "nick", "full_name"):
        project.quick("revert", name, "--dry-run")
        assert project.json("revert", name)["outcome"] == "done"
    project.quick("prune-undo", "--all")
    assert (database.rows('SELECT * FROM crm."Order" ORDER BY id'), people_in(database)) == before


def people_in(database: ScratchDatabase) -> list[tuple[object, ...]]:
    return database.rows("SELECT id, first, last, full_name, nick FROM people ORDER BY id")


def test_a_ledger_that_the_owner_keeps_is_used_and_a_grant_of_any_kind_that_is_taken_away_is_named(
    clerk: Clerk,
) -> None:
    clerk.owner.quick("pause", "full_name")
    clerk.owner.quick("resume", "full_name")
    grants = clerk.grants()
    assert not any("CREATE" in grant for grant in grants)
    assert f"GRANT USAGE ON SEQUENCE public.datamigrate_run_id_seq TO {clerk.role};" in grants
    assert clerk.doctor() == []
    one_of_each = {grant.partition(" ON ")[2].partition(" ")[0]: grant for grant in grants}
    of_columns = next(grant for grant in grants if "UPDATE (" in grant)
    for grant in (*one_of_each.values(), of_columns):
        taken = grant.replace("GRANT", "REVOKE").replace(f" TO {clerk.role}", f" FROM {clerk.role}")
        clerk.database.script(taken)
        (wrong, *_) = told = clerk.doctor(exits=1)
        if "CONNECT" in grant:
            assert "permission denied for database" in wrong
        else:
            assert f"privileges: missing; as the owner: {grant}" in told
        clerk.database.script(grant)
    clerk.project.quick("run")
    assert named_people(clerk.database) == 7


def test_a_role_that_may_not_use_a_schema_is_told_so_by_every_verb_and_not_that_something_is_missing(
    clerk: Clerk,
) -> None:
    clerk.owner.quick("pause", "full_name")
    clerk.owner.quick("resume", "full_name")
    clerk.grants()
    clerk.database.script(f"REVOKE USAGE ON SCHEMA public FROM {clerk.role}")
    told = (
        f"The role {clerk.role} may not use the schema public, so that it does not see the table "
        "public.alembic_version."
    )
    grant = f"GRANT USAGE ON SCHEMA public TO {clerk.role};"
    for verb in ("run", "plan", "status", "upgrade", "check"):
        said = clerk.project.quick(verb, exits=None)
        assert said.code == 1, said
        assert f"Error: {told}\n" in said.err
        assert f"As the schema's owner: {grant} `datamigrate doctor`" in said.err
    wrong = clerk.doctor(exits=1)
    assert f"schema: {told} As the schema's owner: {grant} `datamigrate doctor` names every right" in wrong[0]
    assert any("ledger: The role" in line and "public.datamigrate_ledger" in line for line in wrong)
    assert f"privileges: missing; as the owner: {grant}" in wrong
    clerk.database.script(grant)
    clerk.project.quick("run")


def test_a_verb_that_lacks_a_right_is_told_what_it_may_not_and_who_names_all_that_is_missing(
    clerk: Clerk,
) -> None:
    clerk.owner.quick("run")
    clerk.grants()
    clerk.database.script(
        f"REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public FROM {clerk.role};"
        f"REVOKE SELECT ON alembic_version FROM {clerk.role}"
    )
    for verb in (["status"], ["plan"], ["run"], ["pause", "nick"]):
        told = clerk.project.quick(*verb, exits=1).err
        assert (
            "does not allow it: permission denied for table alembic_version.\n`datamigrate doctor` names"
            in told
        )
    clerk.database.script(f"GRANT SELECT ON alembic_version TO {clerk.role}")
    clerk.project.quick("status")
    for verb in (["reset", "nick"], ["tune", "nick", "--nice", "0.5"], ["retry", "nick", "--quarantined"]):
        told = clerk.project.quick(*verb, exits=1).err
        assert "does not allow it: permission denied for table datamigrate_" in told
        assert "Unexpected" not in told


def test_a_table_in_a_schema_that_may_not_be_used_is_not_taken_for_one_that_is_not_there(
    clerk: Clerk,
) -> None:
    clerk.grants()
    clerk.database.script(
        f"CREATE SCHEMA app; ALTER TABLE people SET SCHEMA app; ALTER ROLE {clerk.role} SET search_path = app, public"
    )
    said = clerk.project.quick("run", "full_name", exits=1).err
    assert (
        f"The role {clerk.role} may not use the schema app, so that it does not see the table app.people"
        in said
    )
    clerk.database.script(f"GRANT USAGE ON SCHEMA app TO {clerk.role}")
    clerk.project.quick("run", "full_name")


def test_what_cannot_be_known_is_said_and_a_batch_that_lacks_it_is_rolled_back(clerk: Clerk) -> None:
    clerk.owner.write_script("loud", LOUD, file="d.py")
    clerk.owner.write_script("free", FREE, file="e.py")
    clerk.owner.write_script(
        "later", NICK.replace("nick", "motto"), requires=NICKNAMES, file="f.py"
    ).write_text((clerk.owner.scripts / "f.py").read_text().replace('sa.column("nick"', 'sa.column("motto"'))
    printed = clerk.owner.quick("doctor", "--grants", clerk.role).out
    clerk.database.script(printed)
    assert "-- Not known: loud: what its function does to the rows of a batch" in printed
    assert "-- Not known: free: what its functions do" in printed
    assert "-- Not known: later: people has no column motto yet" in printed
    assert f"-- For throttles, by a superuser: GRANT pg_read_all_stats TO {clerk.role};" in printed
    assert "permission denied for table people" in clerk.project.quick("run", "loud", exits=1).err
    clerk.database.script(f"GRANT UPDATE (last) ON people TO {clerk.role}")
    clerk.project.quick("run", "loud", "free")
    assert clerk.database.scalar("SELECT count(*) FROM people WHERE last = upper(last)") == 7


def test_an_older_ledger_that_only_its_owner_can_bring_up_to_date_is_pointed_out(clerk: Clerk) -> None:
    clerk.owner.quick("pause", "full_name")
    clerk.grants()
    clerk.database.script("UPDATE datamigrate_ledger SET version = 1")
    (told,) = clerk.doctor(exits=1)
    assert "only its owner can bring the ledger from version 1 to" in told
    assert told.endswith("as the owner, once: datamigrate run")


def test_policies_that_may_hide_rows_from_the_role_are_pointed_out(clerk: Clerk) -> None:
    clerk.grants()
    clerk.database.script("ALTER TABLE people ENABLE ROW LEVEL SECURITY")
    told = clerk.project.quick("doctor").out
    assert "policies decide which rows of public.people it sees, and hidden ones count as done" in told
    assert f"ALTER ROLE {clerk.role} BYPASSRLS;" in clerk.owner.quick("doctor", "--grants", clerk.role).out
    clerk.database.script(f"ALTER ROLE {clerk.role} BYPASSRLS")
    assert "policies decide" not in clerk.project.quick("doctor").out


def test_a_role_whose_name_must_be_quoted_can_be_granted_to(clerk: Clerk) -> None:
    facts = clerk.owner.json("doctor", "--grants", 'the "clerk"')
    assert facts["statements"][0] == 'CREATE ROLE "the ""clerk""" LOGIN;'
    assert all(re.search(r' TO "the ""clerk""";$', grant) for grant in facts["statements"][1:])
    clerk.database.script(f"CREATE ROLE {clerk.role}")


def test_sqlite_has_nothing_to_grant(sqlite_project: Project) -> None:
    told = sqlite_project.quick("doctor", "--grants", "clerk", exits=2).err
    assert "SQLite has no roles" in told
