"""Transactions on SQLite: they begin and end where we say, and wait as long as we say for those of others."""

import asyncio
import math
import sqlite3
import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.util import await_only

from datamigrate.database.guard import is_held_to_the_rules
from datamigrate.words.errors import BatchFailed

WRITES = "datamigrate_writes"
"""Execution option of a connection whose transactions take the write lock at once."""

PATIENCE = "datamigrate_patience"
"""Execution option: how many seconds to wait for the write lock; None is for ever."""

QUICK = "datamigrate_quick"
"""Execution option: the commit need not wait for the disk, where that is safe."""

LAST_PATIENCE = 30.0
"""Seconds for which a commit that may wait for ever for the write lock waits for those who read."""

LONG_LOG = 32 * 1024**2
"""Bytes of a write-ahead log that a commit of ours copies into the file, instead of SQLite's 4 MB: as a rule somebody has
done that beside it, and the log begins anew."""

BUSY_TIMEOUT = 5.0
TRY_AGAIN = 0.005

_BEGUN = "datamigrate_begun"
_FOUND, _CHOSEN = "datamigrate_synchronous_found", "datamigrate_synchronous_chosen"
_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_WAIT = f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT * 1000)}"
_TAKE_THE_LOCK = f"PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; {_WAIT}"


def take_over_transactions(engine: Engine) -> None:
    """Have every transaction of this engine begin and end as its connection's execution options say."""
    event.listen(engine, "connect", _by_our_own_word)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "before_cursor_execute", _before_statement)
    event.listen(engine, "commit", _commit)


def _by_our_own_word(connection: Any, _record: Any) -> None:
    # Python's sqlite3 begins transactions by itself, and not before DDL or SELECT
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.info.pop(_BEGUN, None)
    _begin_as_told(connection)
    connection.info[_BEGUN] = True


def _before_statement(connection: Connection, *_: Any) -> None:
    _refuse_if_over(connection)


def _refuse_if_over(connection: Connection) -> None:
    """Some errors end SQLite's transaction, of which SQLAlchemy does not hear; whatever somebody who has caught
    such an error executes then would be committed at once."""
    driver: Any = connection.connection.driver_connection
    if connection.info.get(_BEGUN) and not driver.in_transaction:
        raise BatchFailed(
            "A statement has failed in such a way that SQLite rolled the whole transaction back (ON CONFLICT ROLLBACK, "
            "RAISE(ROLLBACK), a full disk), and its error was caught: nothing of this batch is kept, and nothing more "
            "is done.",
            "Let that error out of the script, or see to it that the statement alone is undone: OR ABORT behind "
            "INSERT or UPDATE, RAISE(ABORT, ...) in a trigger.",
        )


def _begin_as_told(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get(WRITES, False):
        if _failure_of(connection, "BEGIN"):
            connection.exec_driver_sql("BEGIN")
        return
    _choose_synchronous(connection, "NORMAL" if options.get(QUICK) else "FULL")
    # SQLite itself looks every 100 ms whether the lock is free, and would miss the moment between two
    # batches of another run for a long time
    patience = options.get(PATIENCE)
    give_up = math.inf if patience is None else time.monotonic() + patience
    while (error := _failure_of(connection, _TAKE_THE_LOCK)) and is_busy(error):
        if time.monotonic() >= give_up:
            break
        await_only(asyncio.sleep(TRY_AGAIN))
    if error:
        try:
            # once more, for SQLAlchemy to meet the same and to tell it in its own words
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        finally:
            connection.exec_driver_sql(_WAIT)


def _commit(connection: Connection) -> None:
    """Without a write-ahead log a commit waits for all who read, and may be asked for again. What is committed
    here is not committed anew by SQLAlchemy, which does not find it open any more; what is not, it tells of."""
    _refuse_if_over(connection)
    has_a_log = connection.info.get(_FOUND) is not None
    if has_a_log or is_held_to_the_rules(connection):
        return
    patience = connection.get_execution_options().get(PATIENCE)
    give_up = time.monotonic() + (LAST_PATIENCE if patience is None else patience)
    driver = connection.connection.driver_connection
    assert driver is not None
    while time.monotonic() < give_up:
        try:
            await_only(driver.commit())
        except sqlite3.Error as error:
            if is_busy(error):
                continue
        return


def _choose_synchronous(connection: Connection, wanted: str) -> None:
    """With a write-ahead log a commit that does not wait may be forgotten after a power failure, whole; with a
    rollback journal it might leave the file damaged."""
    info = connection.info
    if _FOUND not in info:
        is_wal = connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        info[_FOUND] = connection.exec_driver_sql("PRAGMA synchronous").scalar() if is_wal else None
        info[_CHOSEN] = "as found"
        if is_wal:
            page = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
            connection.exec_driver_sql(f"PRAGMA wal_autocheckpoint = {LONG_LOG // page}")
    # 2 is FULL, what SQLite has unless told otherwise; any other value is somebody's choice
    if info[_FOUND] == 2 and info[_CHOSEN] != wanted:
        connection.exec_driver_sql(f"PRAGMA synchronous = {wanted}")
        info[_CHOSEN] = wanted


def _failure_of(connection: Connection, script: str) -> sqlite3.Error | None:
    """The error that these statements meet; all of them are one call to the driver's thread."""
    driver = connection.connection.driver_connection
    assert driver is not None
    try:
        await_only(driver.executescript(script))
    except sqlite3.Error as error:
        return error
    return None


def is_busy(error: BaseException | None) -> bool:
    """Whether somebody else holds a lock that this statement needed."""
    return kind_of(error) in _PASSING


def kind_of(error: BaseException | None) -> int | None:
    """The primary code of an error of SQLite's, in the last byte of what it tells; None of any other."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
