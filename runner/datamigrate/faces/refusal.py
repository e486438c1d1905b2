"""What the database does not let us do, and that it is gone, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from datamigrate.database.database import Database
from datamigrate.database.dialects.sqlite_transactions import is_busy
from datamigrate.database.faults import Fault, said_by
from datamigrate.words.errors import ConnectionLost, DatabaseBusy, NotAllowed

_HINTS = {
    "postgresql": "`datamigrate doctor` names every right that is missing; `datamigrate doctor --grants ROLE` prints "
    "what a role needs.",
    "sqlite": "Let the file and its directory be written to.",
}


@contextmanager
def refusal_in_words(database: Database) -> Iterator[None]:
    """Raises NotAllowed for what is refused by the database itself, DatabaseBusy for a file that somebody else has
    locked, and ConnectionLost when the database is gone, outside of any batch."""
    try:
        yield
    except DBAPIError as error:
        if database.dialect.fault(error) is Fault.LOST:
            raise ConnectionLost(
                f"The connection to {database.address} was lost: {said_by(error)}.",
                "What was committed is kept, all else was rolled back: `datamigrate status` tells. Then call again.",
            ) from error
        if is_busy(error.orig):
            raise DatabaseBusy(
                f"{database.address} is locked by somebody else, for longer than we wait.",
                "End what reads or writes there, or let it end, and try again. With a write-ahead log (PRAGMA "
                "journal_mode = wal) readers are in nobody's way.",
            ) from error
        if not database.dialect.is_refusal(error):
            raise
        raise NotAllowed(
            f"{database.address} does not allow it: {said_by(error)}.", _HINTS[database.dialect.name]
        ) from error
