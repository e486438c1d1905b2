"""What the database does not let its role do, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from datamigrate.database.database import Database
from datamigrate.words.errors import NotAllowed

_HINTS = {
    "postgresql": "`datamigrate doctor` names every right that is missing; `datamigrate doctor --grants ROLE` prints "
    "what a role needs.",
    "sqlite": "Let the file and its directory be written to.",
}


@contextmanager
def refusal_in_words(database: Database) -> Iterator[None]:
    """Raises NotAllowed for what is refused by the database itself, outside of any batch."""
    try:
        yield
    except DBAPIError as error:
        if not database.dialect.is_refusal(error):
            raise
        said = str(error.orig).partition("\n")[0].rpartition(">: ")[2]
        raise NotAllowed(
            f"{database.address} does not allow it: {said}.", _HINTS[database.dialect.name]
        ) from error
