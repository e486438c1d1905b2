"""Rows that fail, as far as no database is needed: whom an error blames, how small the next batch is, what an
author may say."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, MultipleResultsFound, StatementError

from datamigrate import update_rows
from datamigrate.authoring.meaning import checksum
from datamigrate.authoring.reading import parse
from datamigrate.database.dialects import Dialect
from datamigrate.database.dialects.postgresql import PostgreSQL
from datamigrate.database.dialects.sqlite import SQLite
from datamigrate.database.keyset import Keyset, last_before, none_of
from datamigrate.doing.blaming import blames_rows
from datamigrate.doing.deaths import BATCHES, Caution, fatal, is_fatal, smaller
from datamigrate.faces.progress import describe
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import NOBODY, Claim
from datamigrate.words.errors import BatchFailed, Fenced, RowFailed, ScriptError, StillPending
from datamigrate.words.events import Finished, Quarantined, Released
from datamigrate.words.migration import Options
from unit.samples import orders, sql, users

# whom an error blames


class DriversError(Exception):
    sqlstate: str | None = None
    server_source_function: str | None = None
    sqlite_errorcode: int | None = None


def of_postgresql(sqlstate: str) -> DBAPIError:
    error = DriversError()
    error.sqlstate = sqlstate
    return DBAPIError("", {}, error)


def said_in(function: str, sqlstate: str) -> DBAPIError:
    error, cause = of_postgresql(sqlstate), DriversError()
    cause.server_source_function = function
    assert isinstance(error.orig, Exception)
    error.orig.__cause__ = cause
    return error


def of_sqlite(code: int, words: str = "") -> DBAPIError:
    error = DriversError(words)
    error.sqlite_errorcode = code
    return DBAPIError("", {}, error)


def raised_from(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


ROWS = [
    (PostgreSQL(), of_postgresql("23505")),  # a unique violation
    (PostgreSQL(), of_postgresql("22P02")),  # a text that is no number
    (PostgreSQL(), of_postgresql("21000")),  # a subquery that gives several rows
    (PostgreSQL(), of_postgresql("P0001")),  # RAISE in a trigger
    (PostgreSQL(), of_postgresql("44000")),  # WITH CHECK OPTION
    (PostgreSQL(), said_in("ExecWithCheckOptions", "42501")),  # a policy
    (SQLite(), of_sqlite(sqlite3.SQLITE_CONSTRAINT_CHECK)),
    (SQLite(), of_sqlite(sqlite3.SQLITE_CONSTRAINT_TRIGGER)),
    (SQLite(), of_sqlite(sqlite3.SQLITE_ERROR, "malformed JSON")),
    (SQLite(), ValueError("no number")),
    (SQLite(), AttributeError("'NoneType' object has no attribute 'strip'")),
    (SQLite(), StatementError("cannot be bound", "", {}, TypeError())),
    (SQLite(), MultipleResultsFound()),
    (SQLite(), RowFailed("this one", "", (7,))),
    (PostgreSQL(), raised_from(ValueError(), of_postgresql("23505"))),
    (PostgreSQL(), ExceptionGroup("", [ValueError(), of_postgresql("23505")])),
]
NOT_ROWS = [
    (PostgreSQL(), of_postgresql("42703")),  # a missing column
    (PostgreSQL(), of_postgresql("42501")),  # a missing privilege
    (PostgreSQL(), said_in("aclcheck_error", "42501")),  # said so by the server itself
    (PostgreSQL(), of_postgresql("42601")),  # a slip in the syntax
    (PostgreSQL(), of_postgresql("08006")),  # the connection is gone
    (PostgreSQL(), of_postgresql("53100")),  # the disk is full
    (PostgreSQL(), of_postgresql("57014")),  # a statement cut off
    (PostgreSQL(), of_postgresql("40P01")),  # a deadlock
    (SQLite(), of_sqlite(sqlite3.SQLITE_BUSY)),
    (SQLite(), of_sqlite(sqlite3.SQLITE_FULL)),
    (SQLite(), of_sqlite(sqlite3.SQLITE_ERROR, "no such column: x")),
    (SQLite(), ConnectionError("the service is down")),
    (SQLite(), raised_from(ValueError(), TimeoutError())),
    (SQLite(), NameError("name 'x' is not defined")),
    (SQLite(), MemoryError()),
    (SQLite(), ArgumentError("a slip")),
    (SQLite(), StillPending("the script is at fault")),
    (SQLite(), BatchFailed("it commits")),
    (SQLite(), Fenced("somebody else has it")),
    (PostgreSQL(), raised_from(ValueError(), of_postgresql("42703"))),
    (SQLite(), ExceptionGroup("", [ValueError(), ExceptionGroup("", [ConnectionError()])])),
    (SQLite(), ExceptionGroup("", [raised_from(ValueError(), TimeoutError())])),
    (SQLite(), raised_from(ValueError(), ExceptionGroup("", [ConnectionError()]))),
    (PostgreSQL(), ExceptionGroup("", [of_postgresql("23505"), ConnectionError()])),
    (PostgreSQL(), ExceptionGroup("", [of_postgresql("42703")])),
    (SQLite(), ExceptionGroup("", [BatchFailed("it commits")])),
]


@pytest.mark.parametrize(("dialect", "error"), ROWS, ids=lambda value: repr(value)[:40])
def test_an_error_of_a_rows_values_blames_the_row(dialect: Dialect, error: Exception) -> None:
    assert blames_rows(dialect, error)


@pytest.mark.parametrize(("dialect", "error"), NOT_ROWS, ids=lambda value: repr(value)[:40])
def test_an_error_of_what_is_around_rows_blames_none(dialect: Dialect, error: Exception) -> None:
    assert not blames_rows(dialect, error)


# a batch at which processes die


def claim(**values: Any) -> Claim:
    return Claim("job", 0, 1, NOBODY, **values)


def test_the_first_deaths_may_be_anybodys_those_behind_are_the_batchs() -> None:
    assert [is_fatal(claim(attempts=attempts), max_deaths=3) for attempts in range(6)] == [
        *[False] * 4,
        *[True] * 2,
    ]
    assert not is_fatal(claim(attempts=9, exhausted=True), max_deaths=3)


def test_a_fatal_batch_is_halved_until_it_is_one_row() -> None:
    sizes, pace = [], smaller(claim(), first_rows=500)
    while pace:
        sizes.append(pace.rows)
        pace = smaller(claim(size=pace.rows, span=pace.span), first_rows=500)
    assert sizes == [250, 125, 63, 32, 16, 8, 4, 2, 1]


def test_where_pending_rows_are_sparse_it_looks_as_far_as_before() -> None:
    assert smaller(claim(size=3, span=4000), first_rows=500) == Pace(2, 4000)


def test_caution_lasts_for_the_batches_that_cover_what_was_fatal() -> None:
    caution, kept = Caution(BATCHES, 3), list[int]()
    while caution:
        caution = caution.after_batch()
        kept.append(caution.attempts)
    assert kept == [3, 3, 3, 0]


def test_what_dies_is_told_with_how_often() -> None:
    assert fatal(claim(attempts=5), (7,)).message.startswith("Row 7: the process that works on it dies")
    assert "4 have been" in fatal(claim(attempts=5)).message


# what an author may say


def with_options(**options: Any) -> Options:
    values = {users.c.email_key: sa.func.lower(users.c.email)}
    return update_rows(users, pending=users.c.email_key.is_(None), values=values, **options).options


def test_rows_stop_it_unless_the_author_says_otherwise() -> None:
    assert with_options() == Options(quarantines=False, max_quarantined=100, quarantine_values=False)
    assert with_options(on_row_error="stop") == Options()
    assert with_options(on_row_error="quarantine", max_quarantined=5, quarantine_values=True) == Options(
        quarantines=True, max_quarantined=5, quarantine_values=True
    )


@pytest.mark.parametrize(
    "options",
    [
        {"on_row_error": "skip"},
        {"on_row_error": True},
        {"max_quarantined": 0},
        {"max_quarantined": 1.5},
        {"max_quarantined": 10_001},
        {"quarantine_values": "yes"},
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ScriptError, match=next(iter(options))):
        with_options(**options)


def test_what_becomes_of_rows_that_fail_is_no_part_of_what_a_script_means() -> None:
    plain = "migrate = update_rows(users)"
    tuned = (
        'migrate = update_rows(users, on_row_error="quarantine", max_quarantined=5, quarantine_values=True)'
    )
    assert checksum(parse(plain.encode(), "x.py")) == checksum(parse(tuned.encode(), "x.py"))


# the statements


def test_rows_are_left_aside_by_their_keys() -> None:
    alone = Keyset(users, ("id",), (sa.Integer(),))
    assert sql(sa.select(sa.literal(1)).where(none_of(alone, [(3,), (17,)])), "sqlite").endswith(
        "WHERE (users.id NOT IN (?, ?))"
    )
    several = Keyset(orders, ("tenant_id", "id"), (sa.Integer(), sa.Integer()))
    assert "(orders.tenant_id, orders.id) NOT IN (" in sql(
        sa.select(sa.literal(1)).where(none_of(several, [(1, 3), (2, 4)])), "sqlite"
    )
    assert sql(last_before(alone, (7,)), "sqlite") == (
        "SELECT users.id AS id FROM users WHERE users.id < ? ORDER BY users.id DESC LIMIT ? OFFSET ?"
    )


# what is told


def test_rows_set_aside_are_told_one_by_one_and_in_the_end() -> None:
    told = [
        describe(event)
        for event in (
            Quarantined("job", "7", "ValueError: no number", 1),
            Quarantined("job", "9", "ValueError: no number", 12),
            Released("job", 1, "7"),
            Finished("job", 1000, 0, 2.0, 3),
        )
    ]
    assert told == [
        "job: row 7 is quarantined, the 1st: ValueError: no number",
        "job: row 9 is quarantined, the 12th: ValueError: no number",
        "job: 1 row out of quarantine, no longer pending (keys 7)",
        "job: done with 3 quarantined, 1,000 rows in 2.0s; `datamigrate quarantine list job`",
    ]
