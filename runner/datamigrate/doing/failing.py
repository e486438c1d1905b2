"""Turning what a script or the database raised into what the operator needs: what failed, on which
keys, what was kept, and what to run next."""

import traceback
from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError, StatementError

from datamigrate.authoring.forms import ComputeRows
from datamigrate.database.cancelled import BY_ITSELF
from datamigrate.database.dialects import Dialect
from datamigrate.database.dialects.base import Timeouts
from datamigrate.database.faults import Fault, said_by
from datamigrate.doing.blaming import may_be_a_rows
from datamigrate.thought.codec import show_key
from datamigrate.words.claim import Claim
from datamigrate.words.errors import BatchFailed, DatamigrateError, RowFailed
from datamigrate.words.migration import Bounds, Key, Migration
from datamigrate.words.rows import human_rows


class InSlice(Exception):
    """An error, and the slice of the key space it happened in."""

    def __init__(self, bounds: Bounds, error: Exception) -> None:
        super().__init__(str(error))
        self.bounds = bounds
        self.error = error


@contextmanager
def in_slice(bounds: Bounds) -> Iterator[None]:
    """Let an error know its slice."""
    try:
        yield
    except Exception as error:
        raise InSlice(bounds, error) from error


def cause_of(error: Exception) -> Exception:
    """The error itself, out of its slice."""
    return error.error if isinstance(error, InSlice) else error


def failed_batch(
    dialect: Dialect,
    migration: Migration,
    raised: Exception,
    kept: int,
    key: Key | None = None,
    verb: str = "run",
) -> DatamigrateError:
    """The error to stop with: one of ours that is no batch's as it is, any other with its place and keys, or
    with the `key` of the one row that fails by itself, and the `verb` that goes on.

    Where columns are masked, what others say of the error is left out: it often quotes the value it met.
    """
    error, name, file = cause_of(raised), migration.name, migration.file
    if isinstance(error, DatamigrateError) and not isinstance(error, BatchFailed):
        return error
    if not isinstance(raised, InSlice) and isinstance(error, BatchFailed) and error.message.startswith(name):
        return error
    where = f"\nRows: {show_bounds(raised.bounds)}." if isinstance(raised, InSlice) and not key else ""
    row = f"Row {show_key(key)}: " if key and not (isinstance(error, BatchFailed) and error.key) else ""
    at = f" at {line}" if (line := script_line(error, file)) else ""
    kind = type(error) if isinstance(error, BatchFailed) else RowFailed if key else BatchFailed
    return kind(
        f"{name}: {row}{told(error, bool(migration.options.mask)).rstrip('.')}{at}.{where}\n"
        f"The failing batch was rolled back; what was done before it is kept: {human_rows(kept)}.",
        f"{_advice(dialect, error, key)} Then `datamigrate {verb} {name}` goes on where it stopped.",
        key,
    )


def too_slow(migration: Migration, raised: Exception, claim: Claim, timeouts: Timeouts) -> BatchFailed:
    """What to stop with when a batch of a single row is cut off."""
    upper = claim.upper or ()
    bounds = raised.bounds if isinstance(raised, InSlice) else Bounds(claim.cursor, upper)
    limit = f"statement_timeout ({timeouts.statement:g}s)" if timeouts.statement else "the server allows"
    return BatchFailed(
        f"Even a batch of one row takes longer than {limit}; "
        f"{told(cause_of(raised), bool(migration.options.mask))} ({show_bounds(bounds)})",
        "Look at that row's triggers, at who holds it locked, and at the indexes that the script needs; or raise "
        "statement_timeout in [tool.datamigrate].",
    )


def show_bounds(bounds: Bounds) -> str:
    """A slice for a person: `key > 500 and key <= 1000`."""
    last = f"key <= {show_key(bounds.upper)}"
    return last if bounds.lower is None else f"key > {show_key(bounds.lower)} and {last}"


def show_keys(keys: Sequence[Key], most: int = 5) -> str:
    """Some keys for a person: `1, 2, 3, ...`."""
    shown = ", ".join(show_key(key) for key in keys[:most])
    return f"{shown}, ..." if len(keys) > most else shown


def script_line(error: BaseException, file: Path) -> str | None:
    """`file:line` of the script's innermost frame, or None when it has no part in this."""
    for one in (first_of(error), error):
        frames = [f for f in traceback.extract_tb(one.__traceback__) if f.filename == str(file)]
        if frames:
            return f"{file}:{frames[-1].lineno}"
    return None


def first_of(error: BaseException) -> BaseException:
    """The first error of a group, whose own text tells only how many there are; any other as it is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@dataclass(frozen=True)
class Raised:
    """What a script's function has raised: its kind, what it said, `file:line` where, whether the row that it was
    given may be at fault, and whether nothing was raised, but the function cancelled."""

    kind: str
    said: str
    line: str | None
    of_a_row: bool = True
    cancelled: bool = False


def raised_by(error: BaseException, file: Path) -> Raised:
    """What is to be told of an error of the script in this file."""
    first, line = first_of(error), script_line(error, file)
    cancelled = isinstance(error, CancelledError)
    return Raised(type(first).__name__, str(first), line, may_be_a_rows(error), cancelled)


def failed_row(form: ComputeRows, raised: Raised, key: Key | None) -> BatchFailed:
    """The error to stop with, of the row with this key; None for a whole batch."""
    row = f"Row {show_key(key)}: " if key is not None else ""
    where = f" at {raised.line}" if raised.line else ""
    if raised.cancelled:
        return BatchFailed(f"{row}migrate() was cancelled{where}", BY_ITSELF, key)
    # an exception's text often quotes the value it met
    said = "" if form.options.mask or not raised.said else f": {raised.said}"
    kind = RowFailed if raised.of_a_row else BatchFailed
    return kind(f"{row}migrate() raised {raised.kind}{said}{where}", "Mend the script or this row.", key)


def told(raised: Exception, masked: bool) -> str:
    """What an error says, in a clause; without its text where columns are `masked`."""
    error = first_of(raised)
    if isinstance(error, DatamigrateError):
        return error.message
    if masked:
        return f"{type(getattr(error, 'orig', None) or error).__name__} (its text is left out: columns are masked)"
    if isinstance(error, DBAPIError) and error.orig is not None:
        return f"the database says: {said_by(error)}"
    if isinstance(error, StatementError) and error.orig is not None:
        return f"{type(error.orig).__name__}: {error.orig}"
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _advice(dialect: Dialect, error: Exception, key: Key | None) -> str:
    if key:
        mend = error.hint if isinstance(error, DatamigrateError) else "Mend the script or this row."
        return f'{mend} Or have such rows set aside, with on_row_error="quarantine" in the script.'
    if isinstance(error, DatamigrateError):
        return error.hint
    if dialect.fault(error) is Fault.LOCKED:
        return (
            "Somebody else holds the lock for longer than all tries together: end that transaction, or raise "
            "lock_timeout in [tool.datamigrate]."
        )
    if "Textual SQL expression" in str(error):
        return 'SQLAlchemy does not execute a plain string: wrap it, sa.text("...").'
    return "Mend the script or these rows."
