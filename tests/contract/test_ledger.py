from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import event

import datamigrate
from databases import ScratchDatabase
from datamigrate.database.database import Database
from datamigrate.database.dialects.base import Estimate
from datamigrate.database.ledger.quarantine import Quarantine
from datamigrate.database.ledger.reading import reset_within
from datamigrate.database.ledger.store import Held, Ledger
from datamigrate.database.ledger.tables import VERSION, Tables, columns_in, since
from datamigrate.database.ledger.upgrading import Upgrade, ensure_ledger
from datamigrate.thought.lifecycle import Cause, Standing, State
from datamigrate.words.claim import Claim, Owner, Tally
from datamigrate.words.errors import (
    ClaimHeld,
    DatamigrateError,
    Fenced,
    LedgerTooNew,
    LifecycleError,
    TooManyQuarantined,
    UnknownMigration,
)
from datamigrate.words.migration import Key, Options
from datamigrate.words.quarantine import Failing
from workbench import ANN, BOB, NAME, age_claim, migration, opened

pytestmark = pytest.mark.anyio

EXPIRY = 60.0
TABLES = {
    f"datamigrate_{name}"
    for name in (
        "ledger",
        "migration",
        "range",
        "run",
        "transition",
        "occurrence",
        "undo",
        "quarantine",
    )
}


class Book:
    """The ledger of an open database, each step in a transaction of its own."""

    def __init__(self, database: Database, schema: str | None = None) -> None:
        self.database = database
        self.schema = schema

    async def step(self, owner: Owner, verb: str, *arguments: Any, **options: Any) -> Any:
        async with self.database.writing() as connection:
            return await getattr(Ledger(owner, self.schema), verb)(connection, *arguments, **options)

    async def claim(self, owner: Owner, gone: tuple[str, ...] = (), checksum: str = "0" * 16) -> Any:
        return await self.step(owner, "claim", migration(checksum=checksum), EXPIRY, gone=gone)

    async def claimed(self, owner: Owner) -> Claim:
        claim = await self.claim(owner)
        assert isinstance(claim, Claim)
        return claim

    async def enrolled(self) -> Book:
        await self.step(ANN, "ensure")
        await self.step(ANN, "enrol", migration())
        return self

    async def state(self) -> State:
        async with self.database.looking() as connection:
            return (await Ledger(ANN, self.schema).view(connection)).migrations[NAME].state

    async def moves(self) -> list[tuple[str, str, str, str | None, str]]:
        async with self.database.looking() as connection:
            found = await Ledger(ANN, self.schema).transitions(connection, NAME)
        assert all(t.at.tzinfo is not None for t in found)
        return [(t.before, t.after, t.cause, t.reason, t.owner) for t in found]


def tables_in(database: ScratchDatabase) -> set[str]:
    return set(sa.inspect(database.engine).get_table_names())


# made, and brought up to date ---------------------------------------------------------------------------


async def test_looking_at_a_database_without_a_ledger_finds_nothing_and_makes_nothing(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours, ours.looking() as connection:
        ledger = Ledger(ANN)
        view = await ledger.view(connection)
        assert (view.migrations, view.exists) == ({}, False)
        assert await ledger.runs(connection, 10) == []
        assert await ledger.transitions(connection, NAME) == []
    assert tables_in(database) == set()


async def test_the_first_write_makes_the_ledger_and_the_second_finds_it(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = Book(ours)
        await book.step(ANN, "ensure")
        assert tables_in(database) == TABLES
        before = database.dump()
        await book.step(BOB, "ensure")
        assert database.dump() == before
        async with ours.looking() as connection:
            view = await Ledger(ANN).view(connection)
    assert (view.migrations, view.exists) == ({}, True)
    assert database.rows("SELECT version, program FROM datamigrate_ledger") == [
        (VERSION, datamigrate.__version__)
    ]


async def test_a_ledger_made_in_a_transaction_that_fails_is_not_there(database: ScratchDatabase) -> None:
    async with opened(database) as ours:

        async def fail() -> None:
            async with ours.writing() as connection:
                await Ledger(ANN).ensure(connection)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
    assert tables_in(database) == set()


async def test_an_older_ledger_is_upgraded_in_place_each_step_once_and_in_order(
    database: ScratchDatabase,
) -> None:
    steps: list[int] = []

    def add_note(operations: Operations, tables: Tables) -> None:
        steps.append(VERSION - 1)
        operations.add_column(tables.run.name, sa.Column("note", sa.Text), schema=tables.run.schema)

    def fill_note(operations: Operations, tables: Tables) -> None:
        steps.append(VERSION)
        operations.execute(f"UPDATE {tables.run.name} SET note = 'old'")

    upgrades: Mapping[int, Upgrade] = {VERSION - 1: add_note, VERSION: fill_note}
    async with opened(database) as ours:
        book = Book(ours)
        await book.step(ANN, "ensure")
        await book.step(ANN, "begin_run", "run")
        database.execute("UPDATE datamigrate_ledger SET version = :old, program = '0.0'", old=VERSION - 2)
        for _ in range(2):
            async with ours.writing() as connection:
                await connection.run_sync(ensure_ledger, Ledger(ANN).tables, upgrades, VERSION)
    assert steps == [VERSION - 1, VERSION]
    assert database.rows("SELECT arguments, note FROM datamigrate_run") == [("run", "old")]
    assert database.rows("SELECT version, program FROM datamigrate_ledger") == [
        (VERSION, datamigrate.__version__)
    ]


async def test_a_ledger_of_the_first_version_becomes_what_a_new_one_is(database: ScratchDatabase) -> None:
    tables = Ledger(ANN).tables
    first = sa.MetaData()
    for table in tables.metadata.sorted_tables:
        if old := [column._copy() for column in columns_in(table, 1)]:
            sa.Table(table.name, first, *old)

    def shapes() -> dict[str, set[tuple[str, str, bool]]]:
        inspector = sa.inspect(database.engine)
        return {
            name: {(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)}
            for name in inspector.get_table_names()
        }

    async with opened(database) as ours:
        await Book(ours).step(ANN, "ensure")
        new = shapes()
        async with ours.writing() as connection:
            await connection.run_sync(tables.metadata.drop_all)
            await connection.run_sync(first.create_all)
        database.execute(
            "INSERT INTO datamigrate_ledger VALUES (1, 1, '0.0', :at)", at="2026-01-01 00:00:00+00:00"
        )
        database.execute(
            "INSERT INTO datamigrate_migration (name, state, checksum, requires, file, enrolled_at)"
            " VALUES ('old', 'done', 'c', 'r', 'f', :at)",
            at="2026-01-01 00:00:00+00:00",
        )
        async with ours.looking() as connection:
            assert "old" in (await Ledger(ANN).view(connection)).migrations
        await Book(ours).step(ANN, "ensure")
        async with ours.looking() as connection:
            assert "old" in (await Ledger(ANN).view(connection)).migrations
    assert shapes() == new


async def test_an_upgrade_that_fails_leaves_the_older_ledger_as_it_was(database: ScratchDatabase) -> None:
    def fails(operations: Operations, tables: Tables) -> None:
        operations.add_column(tables.run.name, sa.Column("note", sa.Text), schema=tables.run.schema)
        raise ZeroDivisionError

    async with opened(database) as ours:
        await Book(ours).step(ANN, "ensure")
        database.execute("UPDATE datamigrate_ledger SET version = :old", old=VERSION - 1)
        before = database.dump()
        with pytest.raises(ZeroDivisionError):
            async with ours.writing() as connection:
                await connection.run_sync(ensure_ledger, Ledger(ANN).tables, {VERSION: fails}, VERSION)
    assert database.dump() == before


@pytest.mark.parametrize("verb", ["ensure", "view"])
async def test_a_ledger_of_a_newer_program_is_refused_and_left_alone(
    database: ScratchDatabase, verb: str
) -> None:
    async with opened(database) as ours:
        book = Book(ours)
        await book.step(ANN, "ensure")
        database.execute("UPDATE datamigrate_ledger SET version = :new, program = '9.9'", new=VERSION + 1)
        before = database.dump()
        with pytest.raises(LedgerTooNew, match=r"made by datamigrate 9\.9"):
            await book.step(ANN, verb)
    assert database.dump() == before


async def test_the_ledger_can_live_in_a_schema_of_its_own(postgres_database: ScratchDatabase) -> None:
    async with opened(postgres_database) as ours:
        book = Book(ours, schema="Our Own")
        await book.enrolled()
        claim = await book.claimed(ANN)
        await book.step(ANN, "checkpoint", claim.after((1,), False, 1, 0), 0.5)
        await book.step(ANN, "leave", claim, Cause.STOP, "enough")
        assert await book.state() is State.STOPPED
        async with ours.looking() as connection:
            assert not (await Ledger(ANN).view(connection)).exists
    assert tables_in(postgres_database) == set()
    assert set(sa.inspect(postgres_database.engine).get_table_names(schema="Our Own")) == TABLES


async def test_many_at_once_make_one_ledger(database: ScratchDatabase) -> None:
    async def make(owner: Owner) -> None:
        async with opened(database) as ours:
            book = Book(ours)
            await book.step(owner, "ensure")
            await book.step(owner, "enrol", migration())

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(make, replace(ANN, pid=number))
    assert database.scalar("SELECT count(*) FROM datamigrate_ledger") == 1
    assert database.scalar("SELECT count(*) FROM datamigrate_migration") == 1


# migrations and claims ----------------------------------------------------------------------------------


async def test_enrolling_twice_changes_nothing(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        before = database.dump()
        await book.step(BOB, "enrol", migration(checksum="another"))
        assert await book.state() is State.PENDING
    assert database.dump() == before
    assert database.rows("SELECT name, state, checksum FROM datamigrate_migration") == [
        (NAME, "pending", "0" * 16)
    ]


async def test_a_claim_is_given_to_one_and_named_to_the_others(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        assert (claim.generation, claim.cursor, claim.upper, claim.sweep) == (1, None, None, 0)
        assert not claim.exhausted
        before = database.dump()
        assert await book.claim(BOB) == Held((ANN.identity,))
        assert database.dump() == before
        assert await book.moves() == [("pending", "running", "run", None, str(ANN))]


async def test_of_many_who_claim_at_once_one_gets_it(database: ScratchDatabase) -> None:
    got: list[Any] = []

    async def try_it(owner: Owner) -> None:
        async with opened(database) as ours:
            got.append(await Book(ours).claim(owner))

    async with opened(database) as ours:
        await Book(ours).enrolled()
    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(try_it, replace(ANN, pid=number))
    claims = [claim for claim in got if isinstance(claim, Claim)]
    assert len(claims) == 1
    assert [held for held in got if held not in claims] == [Held((claims[0].owner.identity,))] * 5


async def test_an_expired_claim_is_taken_over_by_the_databases_clock(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        await book.claimed(ANN)
        age_claim(database)
        claim = await book.claimed(BOB)
        assert claim.generation == 2
        assert await book.moves() == [
            ("pending", "running", "run", None, str(ANN)),
            ("running", "running", "taken over", f"from {ANN}", str(BOB)),
        ]


async def test_a_heartbeat_keeps_a_claim_from_expiring(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        age_claim(database)
        await book.step(ANN, "heartbeat", claim)
        assert isinstance(await book.claim(BOB), Held)


async def test_a_checkpoint_keeps_a_claim_from_expiring(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        age_claim(database)
        await book.step(ANN, "checkpoint", claim.after((1,), False, 1, 0), 0.1)
        assert isinstance(await book.claim(BOB), Held)


async def test_no_time_of_this_host_is_ever_sent(database: ScratchDatabase) -> None:
    sent: list[Any] = []

    def note(_c: Any, _cursor: Any, _statement: str, parameters: Any, *_: Any) -> None:
        sent.extend(parameters.values() if isinstance(parameters, dict) else parameters)

    async with opened(database) as ours:
        event.listen(ours.engine.sync_engine, "before_cursor_execute", note)
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        await book.step(ANN, "heartbeat", claim)
        await book.step(ANN, "checkpoint", claim.after((1,), False, 1, 0), 0.1)
        await book.claim(BOB)
        await book.step(ANN, "leave", claim, Cause.STOP)
        run = await book.step(ANN, "begin_run", "")
        await book.step(ANN, "end_run", run, "done", 0)
    assert len(sent) > 20
    assert not [value for value in sent if isinstance(value, dt.date)]
    this_year = str(dt.datetime.now(dt.UTC).year)
    assert not [value for value in sent if isinstance(value, str) and value.startswith(f"{this_year}-")]


async def test_an_owner_known_to_be_gone_is_evicted_and_nobody_else(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        await book.claimed(ANN)
        carol = replace(BOB, user="carol", token="cccc")
        assert await book.claim(carol, gone=(BOB.identity,)) == Held((ANN.identity,))
        claim = await book.claim(carol, gone=(ANN.identity,))
        assert isinstance(claim, Claim)
        assert (claim.generation, claim.owner) == (2, carol)


async def test_ranges_that_workers_exhausted_before_they_died_are_one_to_verify_for_whoever_comes_after(
    database: ScratchDatabase,
) -> None:
    other = replace(ANN, token="another worker")
    async with opened(database) as open_database:
        book = Book(open_database)
        await book.enrolled()
        first = await book.claimed(ANN)
        first = await book.step(ANN, "begin_walk", replace(first, upper=(9,)), [(5,)])
        second = await book.claimed(other)
        for claim, rows in ((first, 3), (second, 4)):
            done = claim.after(claim.upper, exhausted=True, rows=rows, left_alone=0)
            await book.step(claim.owner, "checkpoint", done, 0.1)
        left = await book.claim(BOB, gone=(ANN.identity, other.identity))
        assert isinstance(left, Claim)
        assert left.exhausted
        assert left.tally == Tally(7, 0, 2)
        assert await book.claim(replace(BOB, token="his other one")) == Held((BOB.identity,))
        assert await book.step(BOB, "finish_range", left) == left


async def test_claiming_again_what_is_ours_gives_a_new_generation(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        first = await book.claimed(ANN)
        second = await book.claimed(ANN)
        assert (first.generation, second.generation) == (1, 2)
        with pytest.raises(Fenced):
            await book.step(ANN, "heartbeat", first)
        await book.step(ANN, "heartbeat", second)


async def test_a_done_migration_gives_no_claim(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        await book.step(ANN, "leave", await book.claimed(ANN), Cause.VERIFIED)
        before = database.dump()
        assert await book.claim(BOB) is None
    assert database.dump() == before


async def test_claiming_an_edited_script_begins_at_the_first_row_and_keeps_the_counts(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.step(ANN, "begin_walk", replace(await book.claimed(ANN), upper=(9,)))
        await book.step(ANN, "checkpoint", claim.after((5,), True, 4, 1), 0.1)
        await book.step(ANN, "leave", claim, Cause.STOP)
        again = await book.claim(BOB, checksum="edited")
        assert isinstance(again, Claim)
        assert (again.cursor, again.upper, again.exhausted, again.sweep) == (None, None, False, 0)
        # what it leaves alone is counted anew by each walk
        assert (again.tally.rows, again.tally.left_alone, again.tally.batches) == (4, 0, 1)
    assert database.scalar("SELECT checksum FROM datamigrate_migration") == "edited"


# fencing ------------------------------------------------------------------------------------------------

STALE: dict[str, tuple[Any, ...]] = {
    "heartbeat": (),
    "checkpoint": (0.1,),
    "reclaim": (),
    "leave": (Cause.VERIFIED, None),
}


@pytest.mark.parametrize("verb", STALE)
async def test_whose_claim_was_taken_over_changes_nothing(database: ScratchDatabase, verb: str) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        stale = await book.claimed(ANN)
        age_claim(database)
        await book.claimed(BOB)
        before = database.dump()
        with pytest.raises(Fenced, match="another run has taken over"):
            await book.step(ANN, verb, stale.after((9,), True, 9, 9), *STALE[verb])
    assert database.dump() == before


@pytest.mark.parametrize("verb", STALE)
async def test_a_claim_that_was_given_back_is_worth_nothing(database: ScratchDatabase, verb: str) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        await book.step(ANN, "leave", claim, Cause.STOP)
        before = database.dump()
        with pytest.raises(Fenced):
            await book.step(ANN, verb, claim, *STALE[verb])
    assert database.dump() == before


async def test_reclaiming_shuts_out_what_is_still_under_way_on_a_lost_connection(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        await book.step(ANN, "checkpoint", claim.after((5,), False, 5, 0), 0.1)
        found = await book.step(ANN, "reclaim", claim)
        assert (found.generation, found.cursor, found.tally.rows) == (2, (5,), 5)
        with pytest.raises(Fenced):
            await book.step(ANN, "checkpoint", claim.after((9,), False, 9, 0), 0.1)


async def test_a_reset_fences_out_who_is_at_work(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        await book.step(BOB, "command", migration(), Cause.RESET, None)
        with pytest.raises(Fenced):
            await book.step(ANN, "checkpoint", claim.after((9,), False, 9, 0), 0.1)
        assert await book.state() is State.PENDING


# every write finds its row ------------------------------------------------------------------------------

NOWHERE = Claim("nobody", 0, 1, ANN)
MISSES: dict[str, tuple[tuple[Any, ...], type[Exception]]] = {
    "heartbeat": ((NOWHERE,), Fenced),
    "checkpoint": ((NOWHERE, 0.1), Fenced),
    "reclaim": ((NOWHERE,), Fenced),
    "leave": ((NOWHERE, Cause.STOP), Fenced),
    "expect": (("nobody", Estimate(3, "counted")), UnknownMigration),
    "end_run": ((4711, "done", 0), DatamigrateError),
    "claim": ((migration("nobody"), EXPIRY), sa.exc.NoResultFound),
}


@pytest.mark.parametrize("verb", MISSES)
async def test_a_write_that_finds_no_row_is_an_error(database: ScratchDatabase, verb: str) -> None:
    arguments, error = MISSES[verb]
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        before = database.dump()
        with pytest.raises(error):
            await book.step(ANN, verb, *arguments)
    assert database.dump() == before


# cursors ------------------------------------------------------------------------------------------------

KEYS: dict[str, Key] = {
    "integer": (-(2**63),),
    "text": ('it\'s "ü" \\ \U0001f600 \n',),
    "empty text": ("",),
    "bytes": (bytes(range(256)),),
    "uuid": (uuid.UUID(int=2**127 + 5),),
    "decimal": (Decimal("1.10"),),
    "huge decimal": (Decimal("12345678901234567890.123456789"),),
    "float": (0.1,),
    "timestamp": (dt.datetime(2024, 2, 29, 23, 59, 59, 999_999),),
    "timestamptz": (dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.timezone(dt.timedelta(hours=5, minutes=30))),),
    "date": (dt.date(1, 1, 1),),
    "time": (dt.time(1, 2, 3, 4),),
    "composite": (7, "a", dt.date(2024, 1, 1), Decimal("0")),
    "free form's": (),
}


@pytest.mark.parametrize("kind", KEYS)
async def test_a_cursor_comes_back_exactly_as_it_was_kept(database: ScratchDatabase, kind: str) -> None:
    key = KEYS[kind]
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = replace(await book.claimed(ANN), upper=key, size=17, span=68, sweep=3)
        claim = await book.step(ANN, "begin_walk", claim)
        await book.step(ANN, "checkpoint", claim.after(key, True, 2**40, 3), 0.25)
        found = await book.claimed(ANN)
    assert (found.cursor, found.upper) == (key, key)
    assert [type(value) for value in found.cursor or ()] == [type(value) for value in key]
    assert repr(found.cursor) == repr(key)
    assert (found.exhausted, found.sweep, found.size, found.span) == (True, 3, 17, 68)
    assert (found.tally.rows, found.tally.left_alone, found.tally.batches) == (2**40, 3, 1)


async def test_the_seconds_spent_in_batches_add_up(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        for number in (1, 2):
            claim = claim.after((number,), False, 10, 0)
            await book.step(ANN, "checkpoint", claim, 0.5)
        async with ours.looking() as connection:
            record = (await Ledger(ANN).view(connection)).migrations[NAME]
    assert record.ranges[0].seconds == 1.0
    assert (record.rows, record.rate) == (20, 20.0)
    assert record.owners == (str(ANN),)


# states -------------------------------------------------------------------------------------------------


async def test_every_move_is_kept_with_its_cause_its_reason_and_who_made_it(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        await book.step(ANN, "leave", await book.claimed(ANN), Cause.STOP, "SIGTERM")
        await book.step(BOB, "leave", await book.claimed(BOB), Cause.ERROR, "no such thing")
        await book.step(ANN, "command", migration(), Cause.RETRY, "mended")
        await book.step(BOB, "leave", await book.claimed(BOB), Cause.VERIFIED)
        await book.step(ANN, "command", migration(), Cause.RESET, None)
        await book.step(ANN, "command", migration(), Cause.STAMP, "done by hand")
        assert await book.moves() == [
            ("pending", "running", "run", None, str(ANN)),
            ("running", "stopped", "stop", "SIGTERM", str(ANN)),
            ("stopped", "running", "run", None, str(BOB)),
            ("running", "failed", "error", "no such thing", str(BOB)),
            ("failed", "pending", "retry", "mended", str(ANN)),
            ("pending", "running", "run", None, str(BOB)),
            ("running", "done", "verified", None, str(BOB)),
            ("done", "pending", "reset", None, str(ANN)),
            ("pending", "done", "stamp", "done by hand", str(ANN)),
        ]


async def test_the_state_carries_its_reason_and_its_times(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        await book.step(ANN, "leave", await book.claimed(ANN), Cause.ERROR, "no such thing")
        async with ours.looking() as connection:
            failed = (await Ledger(ANN).view(connection)).migrations[NAME]
        await book.step(ANN, "leave", await book.claimed(ANN), Cause.VERIFIED)
        async with ours.looking() as connection:
            done = (await Ledger(ANN).view(connection)).migrations[NAME]
    assert (failed.state, failed.reason, failed.finished_at) == (State.FAILED, "no such thing", None)
    assert (done.state, done.reason) == (State.DONE, None)
    assert failed.started_at is not None
    assert done.started_at == failed.started_at
    assert done.finished_at is not None
    assert done.finished_at >= done.started_at


async def test_a_retry_keeps_the_progress(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        await book.step(ANN, "checkpoint", claim.after((5,), False, 5, 0), 0.1)
        await book.step(ANN, "leave", claim, Cause.ERROR, "no")
        assert await book.step(ANN, "command", migration(), Cause.RETRY, None) is State.PENDING
        again = await book.claimed(BOB)
    assert (again.cursor, again.tally.rows) == ((5,), 5)


async def test_a_reset_forgets_the_progress(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        await book.step(ANN, "checkpoint", claim.after((5,), True, 5, 2), 0.1)
        await book.step(ANN, "leave", claim, Cause.VERIFIED)
        assert await book.step(ANN, "command", migration(), Cause.RESET, None) is State.PENDING
        again = await book.claimed(BOB)
    assert (again.cursor, again.exhausted, again.tally.rows, again.tally.batches) == (None, False, 0, 0)


async def test_a_stamp_needs_no_run_and_takes_the_present_text(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = Book(ours)
        await book.step(ANN, "ensure")
        stamped = await book.step(ANN, "command", migration(checksum="new"), Cause.STAMP, "by hand")
        assert stamped is State.DONE
        assert await book.claim(BOB, checksum="new") is None
    assert database.scalar("SELECT checksum FROM datamigrate_migration") == "new"


async def test_a_verb_that_makes_no_sense_changes_nothing(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        before = database.dump()
        with pytest.raises(LifecycleError, match="It is pending already"):
            await book.step(ANN, "command", migration(), Cause.RETRY, None)
    assert database.dump() == before


async def test_a_word_that_makes_no_sense_meanwhile_is_refused_while_somebody_is_heard_of(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()

        async def refuse(cause: Cause, gone: str = "") -> None:
            await book.step(BOB, "refuse_meanwhile", NAME, cause, EXPIRY, lambda owner: owner == gone)

        await refuse(Cause.RETRY)
        await book.claimed(ANN)
        for cause in (Cause.RETRY, Cause.STAMP):
            with pytest.raises(
                ClaimHeld, match=f"run by ann@first-host:11; `{cause}` makes no sense meanwhile"
            ):
                await refuse(cause)
        for cause in (Cause.PAUSE, Cause.CANCEL, Cause.RESET, Cause.REVERT):
            await refuse(cause)
        await refuse(Cause.RETRY, gone=ANN.identity)
        age_claim(database)
        await refuse(Cause.RETRY)


async def test_rows_handed_back_make_whoever_is_at_work_look_anew(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        quarantine = Ledger(ANN).quarantine(NAME)
        async with ours.writing() as connection:
            await quarantine.admit(connection, Failing((7,), "too long", 2, None), 10)
        async with ours.writing() as connection:
            assert await Ledger(BOB).quarantine(NAME).hand_back(connection) == 1
        with pytest.raises(Fenced):
            await book.step(ANN, "checkpoint", claim, 0.0)
        async with ours.looking() as connection:
            assert await quarantine.count(connection) == 0


async def test_who_has_reset_it_is_known_for_as_long_as_somebody_may_ask(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()

        async def reset(seconds: float) -> Standing | None:
            async with ours.looking() as connection:
                return await connection.run_sync(reset_within, Ledger(ANN).tables, NAME, seconds)

        assert await reset(EXPIRY) is None
        await book.step(BOB, "command", migration(), Cause.RESET, "the script was wrong")
        word = await reset(EXPIRY)
        assert str(word).startswith("reset by bob@second-host:22 on 20")
        assert str(word).endswith("Z: the script was wrong")
        assert await reset(0.0) is None


# runs ---------------------------------------------------------------------------------------------------


async def test_only_the_latest_runs_are_remembered_and_those_that_have_not_ended(
    database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.database.ledger.runs.KEPT", 3)
    async with opened(database) as ours:
        book = Book(ours)
        await book.step(ANN, "ensure")
        for number in range(1, 7):
            assert await book.step(ANN, "begin_run", f"run {number}") == number
            if number != 2:
                await book.step(ANN, "end_run", number, "done", 0)
        async with ours.looking() as connection:
            runs = await Ledger(ANN).runs(connection, 10)
    assert [run.id for run in runs] == [6, 5, 4, 2]


async def test_of_what_recurs_the_latest_occurrences_are_remembered_and_every_word_of_a_person(
    database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.database.ledger.occurrences.KEPT", 2)
    first = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    nightly = replace(migration(), options=Options(schedule="0 0 * * *"))
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        for day in range(5):
            due = first + dt.timedelta(days=day)
            assert await book.step(ANN, "take_turn", nightly, due, f"day {day}")
            claim = await book.claimed(ANN)
            await book.step(ANN, "leave", claim, Cause.VERIFIED)
            if day == 1:
                await book.step(BOB, "command", nightly, Cause.PAUSE, "the table is being moved")
                await book.step(BOB, "command", nightly, Cause.RESUME, None)
        moves = await book.moves()
        async with ours.looking() as connection:
            occurrences = await Ledger(ANN).occurrences(connection, NAME)
    assert [o.due_at.day for o in occurrences] == [5, 4]
    assert [cause for _, _, cause, _, _ in moves if cause in ("pause", "resume")] == ["pause", "resume"]
    assert [cause for _, _, cause, _, _ in moves if cause == "verified"] == ["verified"] * 2
    assert "day 1" not in [reason for *_, reason, _ in moves]


async def test_runs_are_kept_newest_first_with_who_what_and_how_they_ended(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        book = Book(ours)
        await book.step(ANN, "ensure")
        first = await book.step(ANN, "begin_run", "run --max-time 25m")
        await book.step(ANN, "end_run", first, "stopped: SIGTERM", 75)
        second = await book.step(BOB, "begin_run", "run")
        async with ours.looking() as connection:
            newest, oldest = await Ledger(ANN).runs(connection, 10)
            assert await Ledger(ANN).runs(connection, 1) == [newest]
    assert (newest.id, newest.owner, newest.outcome, newest.exit) == (second, str(BOB), None, None)
    assert newest.finished_at is None
    assert (oldest.id, oldest.owner, oldest.arguments) == (first, str(ANN), "run --max-time 25m")
    assert (oldest.outcome, oldest.exit, oldest.version) == (
        "stopped: SIGTERM",
        75,
        datamigrate.__version__,
    )
    assert oldest.finished_at is not None
    assert oldest.finished_at >= oldest.started_at


async def test_what_is_expected_is_kept_with_who_says_so(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        await book.step(ANN, "expect", NAME, Estimate(2**40, "the planner's estimate"))
        async with ours.looking() as connection:
            record = (await Ledger(ANN).view(connection)).migrations[NAME]
    assert (record.estimate, record.estimate_source) == (2**40, "the planner's estimate")


# what operators say -------------------------------------------------------------------------------------


async def test_a_halted_migration_gives_no_claim_but_the_word_of_who_halted_it(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        await book.step(BOB, "command", migration(), Cause.PAUSE, "the replica lags", False)
        word = await book.claim(ANN)
        assert isinstance(word, Standing)
        assert (word.state, word.by, word.reason) == (State.PAUSED, str(BOB), "the replica lags")
        assert word.at is not None
        assert word.at.tzinfo is not None
        await book.step(BOB, "command", migration(), Cause.RESUME, None)
        assert isinstance(await book.claim(ANN), Claim)


async def test_a_pause_lets_the_batch_under_way_be_kept_and_a_forced_one_does_not(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        await book.step(BOB, "command", migration(), Cause.PAUSE, None, False)
        claim = claim.after((5,), False, 5, 0)
        await book.step(ANN, "checkpoint", claim, 0.1)
        await book.step(BOB, "command", migration(), Cause.PAUSE, None, True)
        with pytest.raises(Fenced):
            await book.step(ANN, "checkpoint", claim.after((9,), False, 4, 0), 0.1)


@pytest.mark.parametrize("cause", [Cause.STOP, Cause.ERROR, Cause.VERIFIED])
async def test_who_leaves_what_an_operator_has_halted_moves_nothing(
    database: ScratchDatabase, cause: Cause
) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        claim = await book.claimed(ANN)
        await book.step(BOB, "command", migration(), Cause.CANCEL, None, False)
        assert await book.step(ANN, "leave", claim, cause, "why") is State.CANCELLED
        assert await book.state() is State.CANCELLED


async def test_a_script_that_holds_is_enrolled_as_held_and_waits_for_approval(
    database: ScratchDatabase,
) -> None:
    held = replace(migration(), options=Options(hold=True))
    async with opened(database) as ours:
        book = Book(ours)
        await book.step(ANN, "ensure")
        await book.step(ANN, "enrol", held)
        assert await book.state() is State.HELD
        assert await book.step(BOB, "command", held, Cause.APPROVE, "looked at it") is State.PENDING
        assert isinstance(await book.claim(ANN), Claim)


def take_back_to(database: ScratchDatabase, version: int) -> None:
    """Make the ledger what it was in this version."""
    for table in reversed(Ledger(ANN).tables.metadata.sorted_tables):
        if since(table) > version:
            database.execute(f"DROP TABLE {table.name}")
            continue
        for column in table.c:
            if since(column) > version:
                database.execute(f"ALTER TABLE {table.name} DROP COLUMN {column.name}")
    database.execute("UPDATE datamigrate_ledger SET version = :version", version=version)


async def test_a_ledger_of_version_1_can_be_looked_at_as_it_is_and_is_upgraded_by_the_first_write(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        await book.step(ANN, "leave", await book.claimed(ANN), Cause.STOP, "SIGTERM")
        take_back_to(database, 1)
        before = database.dump()
        async with ours.looking() as connection:
            old = (await Ledger(ANN).view(connection)).migrations[NAME]
        assert (old.state, old.reason, old.moved_by) == (State.STOPPED, "SIGTERM", None)
        assert database.dump() == before
        await book.step(BOB, "ensure")
        assert database.scalar("SELECT version FROM datamigrate_ledger") == VERSION
        await book.step(BOB, "command", migration(), Cause.PAUSE, "why")
        async with ours.looking() as connection:
            new = (await Ledger(ANN).view(connection)).migrations[NAME]
        assert (new.state, new.moved_by) == (State.PAUSED, str(BOB))


# rows that fail, and processes that die --------------------------------------------------------------------


def quarantine(owner: Owner = ANN) -> Quarantine:
    return Quarantine(owner, Ledger(owner).tables, NAME)


async def test_a_row_set_aside_is_kept_with_its_error_and_counted_when_it_fails_again(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        await Book(ours).enrolled()
        async with ours.writing() as connection:
            assert await quarantine().admit(connection, Failing((7, "a"), "no number", 2, "{}"), most=2) == 1
        async with ours.writing() as connection:
            assert await quarantine(BOB).admit(connection, Failing((7, "a"), "still none", 1), most=1) == 1
        async with ours.looking() as connection:
            [row] = await quarantine().rows(connection)
            view = await Ledger(ANN).view(connection)
    assert (row.key, row.error, row.attempts, row.held, row.owner) == (
        (7, "a"),
        "still none",
        3,
        None,
        str(BOB),
    )
    assert row.first_at is not None
    assert row.last_at is not None
    assert row.first_at <= row.last_at
    assert view.migrations[NAME].quarantined == 1


async def test_no_more_rows_are_set_aside_than_may_be(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        await Book(ours).enrolled()
        async with ours.writing() as connection:
            await quarantine().admit(connection, Failing((1,), "no number"), most=1)
        with pytest.raises(TooManyQuarantined, match="row 2 fails too"):
            async with ours.writing() as connection:
                await quarantine().admit(connection, Failing((2,), "no number"), most=1)
        async with ours.looking() as connection:
            assert await quarantine().keys(connection) == ((1,),)


async def test_rows_are_in_line_again_after_a_reset_and_for_an_edited_script(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        for number, again in enumerate(("edited", "reset")):
            claim = await book.claimed(ANN)
            async with ours.writing() as connection:
                await quarantine().admit(connection, Failing((number,), "no number"), most=9)
            await book.step(ANN, "leave", claim, Cause.STOP, "SIGTERM")
            if again == "edited":
                await book.step(ANN, "leave", await book.claim(ANN, checksum="1" * 16), Cause.STOP, "SIGTERM")
            else:
                await book.step(ANN, "command", migration(checksum="1" * 16), Cause.RESET, None)
            async with ours.looking() as connection:
                assert await quarantine().count(connection) == 0


async def test_claims_are_counted_until_a_checkpoint_or_a_clean_end(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        book = await Book(ours).enrolled()
        attempts = []
        for number in range(3):
            claim = await book.claim(
                replace(ANN, token=str(number)), gone=(replace(ANN, token=str(number - 1)).identity,)
            )
            attempts.append(claim.attempts)
        assert attempts == [1, 2, 3]
        moved = claim.after((5,), False, 5, 0)
        await book.step(claim.owner, "begin_walk", replace(claim, upper=(9,)))
        assert database.scalar("SELECT attempts FROM datamigrate_range") == 3
        await book.step(claim.owner, "checkpoint", replace(moved, upper=(9,)), 0.1)
        assert database.scalar("SELECT attempts FROM datamigrate_range") == 0
        again = await book.claim(BOB, gone=(claim.owner.identity,))
        assert again.attempts == 1
        await book.step(BOB, "leave", again, Cause.STOP, "SIGTERM")
        assert database.scalar("SELECT attempts FROM datamigrate_range") == 0


async def test_looking_at_a_ledger_of_version_2_finds_no_rows_set_aside(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        await Book(ours).enrolled()
        take_back_to(database, 2)
        async with ours.looking() as connection:
            assert await quarantine().rows(connection) == ()
            assert (await Ledger(ANN).view(connection)).migrations[NAME].quarantined == 0
