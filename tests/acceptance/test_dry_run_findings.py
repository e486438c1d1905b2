"""What a dry run finds: rows that would fail, what the rest costs, where the script goes; and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from databases import ScratchDatabase, left_open
from projects import FULL_NAME, NICK, UNHURRIED, Project, add_people, ended, named_people

GUARDED = """
@compute_rows(people, pending=people.c.nick.is_(None), reads=[people.c.first], writes=[people.c.nick])
def migrate(row):
    assert row.first != "First55", "not this one"
    return {"nick": row.first}
"""
EACH = """
@each_batch(people, pending=people.c.nick.is_(None))
async def migrate(batch):
    await batch.execute(sa.update(people).where(batch.rows).values(nick=people.c.first))
"""
COMMITTING = """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET nick = 'x'"))
    await {call}
"""
CALLING = """
@compute_rows(people, pending=people.c.nick.is_(None), reads=[people.c.first], writes=[people.c.nick])
{async_}def migrate(row):
    {body}
    return {{"nick": row.first}}
"""


def tried(project: Project, *arguments: str, exits: int | None = 0) -> dict[str, Any]:
    [rehearsal] = project.json("run", "--dry-run", *UNHURRIED, *arguments, exits=exits)["rehearsals"]
    return dict(rehearsal)


def refuse_nick(database: ScratchDatabase, nick: str) -> None:
    """From now on no row can get this nick."""
    if database.dialect == "sqlite":
        database.script(
            "CREATE TRIGGER refuse BEFORE UPDATE ON people WHEN NEW.nick = "
            f"'{nick}' BEGIN SELECT RAISE(ABORT, 'no such nick'); END"
        )
    else:
        database.execute(f"ALTER TABLE people ADD CONSTRAINT refuse CHECK (nick <> '{nick}')")


# failing --------------------------------------------------------------------------------------------------


def test_the_row_that_a_function_fails_on_is_shown_and_the_other_samples_go_on(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 100)
    project.write_script("nick", GUARDED)
    before = database.dump()
    rehearsal = tried(project, "--sample", "10", exits=1)
    assert database.dump() == before
    [failure] = rehearsal["failures"]
    assert (failure["where"], failure["key"]) == ("middle", "55")
    assert "AssertionError: not this one" in failure["error"]
    assert [sample["where"] for sample in rehearsal["samples"]] == ["beginning", "end"]
    assert "55" in rehearsal["error"]["message"]


@pytest.mark.parametrize("form", [FULL_NAME.replace("full_name", "nick"), EACH], ids=["update", "each batch"])
def test_the_row_that_a_statement_fails_on_is_found_and_the_other_samples_go_on(
    project: Project, database: ScratchDatabase, form: str
) -> None:
    add_people(database, 100)
    refuse_nick(database, "First58" if form is EACH else "First58 Last58")
    project.write_script("nick", form)
    before = database.dump()
    rehearsal = tried(project, "--sample", "10", exits=1)
    assert database.dump() == before
    [failure] = rehearsal["failures"]
    assert (failure["where"], failure["key"]) == ("middle", "58")
    assert "the database says: " in failure["error"]
    assert [sample["where"] for sample in rehearsal["samples"]] == ["beginning", "end"]
    told = project.quick("run", "--dry-run", "--sample", "10", exits=1).out
    assert "would fail" in told


def know_nicks(database: ScratchDatabase, but: str) -> None:
    """From now on no person can get a nick that is not known, at the latest when the transaction commits."""
    database.script(
        "CREATE TABLE nicks (nick text PRIMARY KEY);"
        f"INSERT INTO nicks SELECT first FROM people WHERE first <> '{but}';"
        "ALTER TABLE people ADD FOREIGN KEY (nick) REFERENCES nicks DEFERRABLE INITIALLY DEFERRED"
    )


FREE = """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET nick = first WHERE nick IS NULL"))
"""


@pytest.mark.parametrize(
    ("form", "key"),
    [(EACH, "58"), (NICK.replace("[:2]", ""), "58"), (FREE, None)],
    ids=["each", "compute", "free"],
)
def test_what_would_fail_at_the_commit_is_found_with_its_row(
    postgres_project: Project, postgres_database: ScratchDatabase, form: str, key: str | None
) -> None:
    add_people(postgres_database, 100)
    know_nicks(postgres_database, but="First58")
    postgres_project.write_script("nick", form)
    before = postgres_database.dump()
    rehearsal = tried(postgres_project, exits=1)
    assert postgres_database.dump() == before
    [failure] = rehearsal["failures"]
    assert failure["key"] == key
    assert "violates foreign key constraint" in failure["error"]
    postgres_project.quick("run", exits=1)


REFUSING = {
    "a policy": "CREATE POLICY refuse ON people AS RESTRICTIVE FOR UPDATE TO dry_writer "
    "USING (true) WITH CHECK (nick <> 'First58')",
    "a trigger": "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF NEW.nick = 'First58' THEN RAISE 'not this one' USING ERRCODE = '42501'; END IF; RETURN NEW; END $$;"
    "CREATE TRIGGER refuse BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION refuse()",
}


@pytest.mark.parametrize("what", REFUSING)
def test_a_row_that_is_not_allowed_is_found_though_others_may_be_written(
    postgres_project: Project, postgres_database: ScratchDatabase, what: str
) -> None:
    add_people(postgres_database, 100)
    postgres_project.write_script("nick", EACH)
    postgres_database.script(
        "CREATE ROLE dry_writer LOGIN; GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO dry_writer;"
        "ALTER TABLE people ENABLE ROW LEVEL SECURITY; CREATE POLICY every ON people TO dry_writer USING (true);"
    )
    postgres_database.script(REFUSING[what])
    url = postgres_database.engine.url.set(username="dry_writer").render_as_string(hide_password=False)
    try:
        rehearsal = tried(postgres_project.having({"DATABASE_URL": url}), exits=1)
    finally:
        postgres_database.script("DROP OWNED BY dry_writer; DROP ROLE dry_writer")
    assert rehearsal["only_read"] is False
    assert [failure["key"] for failure in rehearsal["failures"]] == ["58"]


def test_what_is_put_right_before_the_commit_does_not_fail(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    add_people(postgres_database, 10)
    know_nicks(postgres_database, but="none of them")
    wrong_first = 'values(nick="unknown"))\n    await batch.execute(sa.update(people).where(batch.rows)'
    body = EACH.replace("pending=people.c.nick.is_(None)", "pending=people.c.id > 0")
    postgres_project.write_script("nick", body.replace("values", f"{wrong_first}.values", 1))
    assert tried(postgres_project, exits=None)["failures"] == []


def test_what_fails_is_no_row_where_the_script_breaks_the_rules(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 10)
    project.write_script("nick", EACH.replace("sa.update(people)", 'sa.text("COMMIT")) #'))
    before = database.dump()
    [failure] = tried(project, exits=1)["failures"]
    assert failure["key"] is None
    assert "ends the runner's transaction (COMMIT)" in failure["error"]
    assert database.dump() == before


@pytest.mark.parametrize(
    "ending",
    ["COMMIT", "/* */ commit", "END", "ROLLBACK", "SELECT 1; COMMIT", "ABORT"],
)
def test_a_free_form_that_ends_the_transaction_is_refused_and_nothing_stays(
    project: Project, database: ScratchDatabase, ending: str
) -> None:
    add_people(database, 10)
    body = (
        "async def migrate(session):\n"
        "    await session.execute(sa.text(\"UPDATE people SET nick = 'x'\"))\n"
        f"    await session.execute(sa.text({ending!r}))\n"
    )
    project.write_script("nick", body)
    before = database.dump()
    assert tried(project, exits=1)["failures"]
    assert database.dump() == before


@pytest.mark.parametrize("call", ["session.commit()", "(await session.connection()).commit()"])
def test_a_free_form_that_commits_by_a_call_is_refused_and_nothing_stays(
    project: Project, database: ScratchDatabase, call: str
) -> None:
    add_people(database, 10)
    project.write_script("nick", COMMITTING.format(call=call))
    before = database.dump()
    facts = project.json("run", "--dry-run", exits=1)
    told = [problem["message"] for problem in facts["problems"]]
    told += [failure["error"] for rehearsal in facts["rehearsals"] for failure in rehearsal["failures"]]
    assert any("commit" in one for one in told)
    assert database.dump() == before


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (
            '(await (await session.connection()).get_raw_connection()).driver_connection.execute(str("COMMIT"))',
            "driver_connection, get_raw_connection",
        ),
        ("sa.create_engine(session.bind.url).connect().commit()", "create_engine"),
    ],
)
def test_what_no_dry_run_can_undo_is_not_tried(
    project: Project, database: ScratchDatabase, call: str, name: str
) -> None:
    add_people(database, 10)
    project.write_script("nick", COMMITTING.format(call=call))
    before = database.dump()
    rehearsal = tried(project, exits=1)
    assert f"not tried, because it uses {name}" in rehearsal["error"]["message"]
    assert database.dump() == before


# counting and cost ----------------------------------------------------------------------------------------


def test_count_is_exact_and_writes_nothing(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 1234)
    project.write_script("full_name", FULL_NAME)
    before = database.dump()
    assert tried(project, "--count")["pending"] == {"rows": 1234, "source": "counted"}
    assert database.dump() == before


def test_count_without_a_dry_run_is_refused(sqlite_project: Project) -> None:
    assert "--count is for a dry run" in sqlite_project.quick("run", "--count", exits=2).err


def test_the_cost_is_told(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 1000)
    project.write_script("full_name", FULL_NAME)
    cost = tried(project, "--batch-size", "250")["cost"]
    assert (cost["batches_to_come"], cost["batch_rows"]) == (4, 250)
    total = cost["total_seconds"]
    assert 0 < total["low"] <= total["expected"] <= total["high"]
    if database.dialect == "postgresql":
        assert {"table": "people", "mode": "RowExclusiveLock"} in cost["locks"]
        assert cost["wal_bytes_per_row"] > 0
        assert cost["bloat_bytes"] > 1000 * 24
        assert 0 <= cost["heap_only_share"] <= 1
    else:
        assert cost["locks"] == [{"table": None, "mode": "write lock"}]


def test_an_index_on_the_written_column_leaves_no_heap_only_updates(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    add_people(postgres_database, 100)
    postgres_database.execute("CREATE INDEX ix ON people (full_name)")
    postgres_project.write_script("full_name", FULL_NAME)
    assert tried(postgres_project)["cost"]["heap_only_share"] == 0


# going outside --------------------------------------------------------------------------------------------


@contextmanager
def server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=lambda: serve(listening), daemon=True).start()
        yield listening.getsockname()[1]


def serve(listening: socket.socket) -> None:
    while True:
        try:
            listening.accept()[0].close()
        except OSError:
            return


@pytest.mark.parametrize("is_async", [False, True])
def test_a_connection_that_the_script_opens_is_told(
    project: Project, database: ScratchDatabase, is_async: bool
) -> None:
    add_people(database, 2)
    with server() as port:
        body = f'import socket; socket.create_connection(("127.0.0.1", {port})).close()'
        if is_async:
            body = f'import asyncio; (await asyncio.open_connection("127.0.0.1", {port}))[1].close()'
        project.write_script("nick", CALLING.format(async_="async " if is_async else "", body=body))
        assert tried(project)["sockets"] == [f"127.0.0.1:{port}"]
        told = project.quick("run", "--dry-run").out
    assert f"the script opened connections to 127.0.0.1:{port}" in told


def test_the_databases_own_connections_are_not_told(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 2)
    project.write_script("nick", NICK)
    assert tried(project)["sockets"] == []


# ending ---------------------------------------------------------------------------------------------------

SLOW = """
import pathlib

people_flag = pathlib.Path({flag!r})

@each_batch(people, pending=people.c.nick.is_(None))
async def migrate(batch):
    await batch.execute(sa.update(people).where(batch.rows).values(nick="x"))
    people_flag.touch()
    await batch.execute(sa.text({endless!r}))
"""
ENDLESS = {
    "postgresql": "SELECT pg_sleep(3600)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
}


def slow_project(project: Project, database: ScratchDatabase, flag: Path) -> None:
    add_people(database, 3)
    project.write_script("nick", SLOW.format(flag=str(flag), endless=ENDLESS[database.dialect]))


def assert_nothing_is_left(database: ScratchDatabase, before: Any) -> None:
    assert left_open(database) == 0
    # nobody holds a lock any more
    database.execute("UPDATE people SET first = first")
    assert database.dump() == before
    assert named_people(database) == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_breaking_it_off_leaves_nothing_behind(
    tmp_path: Path, project: Project, database: ScratchDatabase, sent: signal.Signals
) -> None:
    flag = tmp_path / "flag"
    slow_project(project, database, flag)
    before = database.dump()
    with ended(project.start("run", "--dry-run")) as process:
        while not flag.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.kill(process.pid, sent)
        told = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "everything was rolled back, nothing was written." in told
    assert_nothing_is_left(database, before)


def test_the_time_limit_ends_it_and_leaves_nothing_behind(
    tmp_path: Path, project: Project, database: ScratchDatabase
) -> None:
    slow_project(project, database, tmp_path / "flag")
    before = database.dump()
    rehearsal = tried(project, "--max-time", "500ms", exits=None)
    assert rehearsal["cut_off"] or rehearsal["failures"]
    assert_nothing_is_left(database, before)


def test_a_function_that_takes_its_time_is_not_called_for_further_rows(
    tmp_path: Path, sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    add_people(sqlite_database, 100)
    calls = tmp_path / "calls"
    body = f"import time; open({str(calls)!r}, 'a').write('x'); time.sleep(0.5)"
    sqlite_project.write_script("nick", CALLING.format(async_="", body=body))
    with ended(sqlite_project.start("run", "--dry-run")) as process:
        while not calls.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
    assert len(calls.read_text()) < 100


def test_a_slow_function_holds_no_lock_while_it_computes(
    tmp_path: Path, project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 3)
    flag, gone_on = tmp_path / "flag", tmp_path / "gone_on"
    body = (
        f"import pathlib, time; pathlib.Path({str(flag)!r}).touch()\n"
        f"    while not pathlib.Path({str(gone_on)!r}).exists(): time.sleep(0.01)"
    )
    project.write_script("nick", CALLING.format(async_="", body=body))
    with ended(project.start("run", "--dry-run")) as process:
        while not flag.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        database.execute("UPDATE people SET last = 'changed'")
        gone_on.touch()
        assert process.wait(20) is not None
    assert database.scalar("SELECT count(*) FROM people WHERE last = 'changed'") == 3
