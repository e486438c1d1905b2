"""One file per database behind one small protocol."""

from datamigrate.database.dialects.base import Dialect
from datamigrate.database.dialects.postgresql import PostgreSQL
from datamigrate.database.dialects.sqlite import SQLite

__all__ = ["Dialect", "dialect_for"]

_DIALECTS: dict[str, Dialect] = {"postgresql": PostgreSQL(), "sqlite": SQLite()}


def dialect_for(backend: str) -> Dialect:
    """The dialect of an address's backend."""
    return _DIALECTS[backend]
