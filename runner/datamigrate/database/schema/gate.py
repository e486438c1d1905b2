"""A schema revision's gate: is the data complete now, on this connection, in this transaction?

What the ledger remembers is not enough: rows that the application wrote in the old form after the
migration was done close the gate again.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from datamigrate.authoring.forms import ComputeRows, FreeForm, RowsForm
from datamigrate.authoring.row import Row, rows_from
from datamigrate.authoring.script import Script
from datamigrate.database.keyset import Keyset, none_of, one_of
from datamigrate.database.ledger.records import MigrationRecord
from datamigrate.thought.lifecycle import State
from datamigrate.words.migration import Key
from datamigrate.words.rows import human_rows


@dataclass(frozen=True)
class Verdict:
    """Open or shut, and why in a few words; `advice` is what to do where running it would not help, as when
    all that is missing is `quarantined`."""

    is_open: bool
    reason: str = ""
    advice: str = ""
    quarantined: bool = False


OPEN = Verdict(True)
PAGE = 5_000

LONGEST_ASKED = 60.0
"""Seconds for the answers of an asynchronous script."""


def judge(
    connection: Connection,
    script: Script | None,
    record: MigrationRecord | None,
    aside: Sequence[Key] = (),
    allow_quarantined: bool = False,
) -> Verdict:
    """Whether the migration's data is complete, if need be but for the rows that were set `aside`.

    A script whose file is gone is taken at the ledger's word. A free form without `remaining` has
    nothing but that word either.
    """
    done = record is not None and record.state is State.DONE and (allow_quarantined or not aside)
    if script is None:
        unknown = "no script has this name, and the ledger does not know it"
        known = f"its file is gone, and it is {record.state}" if record else unknown
        known += f" with {len(aside):,} rows quarantined" if aside else ""
        advice = "Restore its file, or mend op.require_data(...) in the revision."
        return OPEN if done else Verdict(False, known, advice)
    if isinstance(script.form, FreeForm) and script.form.remaining is None:
        return OPEN if done else Verdict(False, f"it is {record.state if record else 'pending'}")
    try:
        if isinstance(script.form, RowsForm):
            return _judge_rows(connection, script, script.form, record, aside, allow_quarantined)
        pending = _remaining(connection, script.form)
    except Exception as error:
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
        reason = f"its pending rows cannot be looked for: {type(error).__name__}: {said}"
        return Verdict(
            False, reason, f"Mend {script.migration.file}, or let the gate stand in another revision."
        )
    return Verdict(False, f"{_rows(pending)} pending") if pending else OPEN


def guard(
    script: Script | None,
    name: str,
    dialect: sa.Dialect,
    ledger: sa.Table,
    quarantine: sa.Table | None = None,
) -> str:
    """The gate as SQL for `alembic upgrade --sql`: a statement that fails while data is pending.

    With a `quarantine` as many rows may be pending as it holds of this migration, whichever they are: SQL
    cannot read its keys.
    """
    # the parameters of some drivers would have percent signs doubled
    dialect = type(dialect)(paramstyle="named")  # type: ignore[call-arg] # every one of SQLAlchemy's takes it
    # until it has asked a server SQLAlchemy 2.0 takes a backslash for an escape, which it has not been since
    # PostgreSQL 9.1
    dialect._backslash_escapes = False  # type: ignore[attr-defined] # PostgreSQL's
    message = f"datamigrate: the data of {name} is not complete; run: datamigrate run {name}"
    if script is not None and isinstance(script.form, RowsForm):
        shut: sa.Select[Any] = (
            sa.select(sa.literal_column("1")).select_from(script.form.table).where(script.form.pending)
        )
        condition = f"EXISTS ({_literal(shut, dialect)})"
        if quarantine is not None:
            count: sa.Select[Any] = sa.select(sa.func.count())
            pending = count.select_from(script.form.table).where(script.form.pending)
            aside = count.select_from(quarantine).where(quarantine.c.migration == name)
            condition = f"({_literal(pending, dialect)}) > ({_literal(aside, dialect)})"
    else:
        done: sa.Select[Any] = sa.select(sa.literal_column("1")).where(
            ledger.c.name == name, ledger.c.state == State.DONE
        )
        condition = f"NOT EXISTS ({_literal(done, dialect)})"
    if dialect.name == "postgresql":
        lock = ""
        if script is not None and isinstance(script.form, RowsForm):
            lock = f"{_no_more_writers(script.form, dialect)}; "
        # dollar quoting with a tag of our own, so that the predicate may contain any text
        return (
            f"DO $datamigrate$ BEGIN {lock}IF {condition} THEN RAISE EXCEPTION '{message}'; END IF; "
            "END $datamigrate$"
        )
    # SQLite has no conditional error outside triggers; json() fails on a text that is no JSON.
    # sqlite3 goes on after an error unless it is called with -bail.
    return f"SELECT CASE WHEN {condition} THEN json('{message}') END"


def _judge_rows(
    connection: Connection,
    script: Script,
    form: RowsForm,
    record: MigrationRecord | None,
    aside: Sequence[Key],
    allow_quarantined: bool,
) -> Verdict:
    held_back = 0
    if aside and allow_quarantined:
        form = replace(form, pending=sa.and_(form.pending, none_of(_keyset(connection, form), aside)))
    if not _any_pending(connection, form):
        # what a transaction that is still open has written is seen once its lock is ours
        if (lock := _no_more_writers(form, connection.dialect)) is None:
            return OPEN
        # as it is: to SQLAlchemy a colon in a name begins a parameter
        connection.exec_driver_sql(lock)
        if not _any_pending(connection, form):
            return OPEN
    pending = _count(connection, form, form.pending)
    if aside and not allow_quarantined:
        held_back = _count(connection, form, sa.and_(form.pending, one_of(_keyset(connection, form), aside)))
    was_done = (
        not held_back and record is not None and record.state is State.DONE and pending <= record.left_alone
    )
    if was_done and _all_left_alone(connection, form):
        return OPEN
    total = _count(connection, form, sa.true())
    still = "1 is" if pending == 1 else f"{pending:,} are"
    found = f"{total - pending:,} of {total:,} rows are done, {still} pending"
    if not held_back:
        return Verdict(False, found)
    found += f", {held_back:,} of them quarantined"
    if held_back < pending:
        return Verdict(False, found)
    name = script.name
    advice = (
        f"`datamigrate quarantine list {name}` tells why: mend them, then `datamigrate retry {name} "
        f'--quarantined`; or let the revision go on without them: op.require_data("{name}", '
        "allow_quarantined=True)."
    )
    return Verdict(False, found, advice, quarantined=True)


def _keyset(connection: Connection, form: RowsForm) -> Keyset:
    if form.key:
        names = [column.name for column in form.key]
    else:
        inspector = sa.inspect(connection)
        names = inspector.get_pk_constraint(form.table.name, schema=form.table.schema)["constrained_columns"]
    return Keyset(form.table, tuple(names), ())


def _any_pending(connection: Connection, form: RowsForm) -> bool:
    first: sa.Select[Any] = (
        sa.select(sa.literal_column("1")).select_from(form.table).where(form.pending).limit(1)
    )
    return connection.execute(first).first() is not None


def _no_more_writers(form: RowsForm, dialect: sa.Dialect) -> str | None:
    """The statement that waits for everybody who writes to the table and lets nobody begin until the
    revision is applied; None where the transaction has seen to that already."""
    if dialect.name != "postgresql":
        return None
    table = dialect.identifier_preparer.format_table(form.table)
    return f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"


def _all_left_alone(connection: Connection, form: RowsForm) -> bool:
    """Whether the script leaves every pending row alone: it is asked about each of them. Where an asynchronous one cannot
    be, in a loop that is not the run's or in so short a time, the number that the last run has verified must do."""
    if not isinstance(form, ComputeRows):
        return False
    columns = [column.label(f"read_{i}") for i, column in enumerate(form.reads)]
    query: sa.Select[Any] = sa.select(*columns).select_from(form.table).where(form.pending)
    pages = (rows_from(form, page) for page in connection.execute(query).partitions(PAGE))
    if not inspect.iscoroutinefunction(form.function):
        return all(_are_left_alone(_answers(form, rows)) for rows in pages)
    # a thread may have a loop of its own, whether Alembic was called from within another one or not
    runner, end = asyncio.Runner(), time.monotonic() + LONGEST_ASKED
    with ThreadPoolExecutor(max_workers=1) as aside:
        try:
            return all(
                _are_left_alone(aside.submit(runner.run, _awaited_answers(form, rows, end)).result())
                for rows in pages
            )
        except (RuntimeError, TimeoutError):
            return True
        finally:
            aside.submit(runner.close)


def _are_left_alone(answers: Sequence[Any]) -> bool:
    return all(answer is None for answer in answers)


def _answers(form: ComputeRows, rows: list[Row]) -> Sequence[Any]:
    answers: Sequence[Any] = form.function(rows) if form.takes_batch else list(map(form.function, rows))
    return answers


async def _awaited_answers(form: ComputeRows, rows: list[Row], end: float) -> Sequence[Any]:
    at_a_time = asyncio.Semaphore(form.options.concurrency)

    async def answer(row: Row) -> Any:
        async with at_a_time:
            return await form.function(row)

    async with asyncio.timeout(end - time.monotonic()):
        if form.takes_batch:
            answers: Sequence[Any] = await form.function(rows)
            return answers
        return await asyncio.gather(*map(answer, rows))


def _rows(count: int) -> str:
    return f"{human_rows(count)} {'is' if count == 1 else 'are'}"


def _count(connection: Connection, form: RowsForm, which: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(form.table).where(which)
    return int(connection.scalar(query) or 0)


def _remaining(connection: Connection, form: FreeForm) -> int:
    assert form.remaining is not None
    session = AsyncSession()
    # the script's function awaits, Alembic's connection does not: the session's methods run on the
    # plain connection within a greenlet, which serves both
    session.sync_session = Session(bind=connection, join_transaction_mode="rollback_only")
    try:
        counting = form.remaining(session)
        if connection.dialect.is_async:
            return int(await_only(counting))
        return int(_awaited(counting))
    finally:
        session.sync_session.close()


def _awaited(awaitable: Awaitable[Any]) -> Any:
    """The result of a script's function, wherever Alembic was called."""

    async def coroutine() -> Any:
        return await awaitable

    running = coroutine()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(running)
    # the loop is the caller's and cannot turn while Alembic has the thread; the session never waits for it
    try:
        running.send(None)
    except StopIteration as finished:
        return finished.value
    running.close()
    raise RuntimeError("remaining() waits for something other than its session")


def _literal(query: sa.Select[Any], dialect: sa.Dialect) -> str:
    return str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
