"""A connection of SQLite's driver that lets go of its locks when it is closed, whatever was under way."""

import sqlite3
from typing import Any
from weakref import WeakSet


class LettingGo(sqlite3.Connection):
    """Ends the statements of its cursors before it closes.

    SQLite keeps a closed connection, with its transaction and its locks, for as long as there is a statement of it
    that has rows left (https://www.sqlite.org/c3ref/close.html), and refuses even to roll it back once it was
    interrupted; a cancelled task may leave one for as long as anybody refers to its error.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        """One that ends with the connection."""
        cursor = super().cursor(*arguments, **options)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        """End all there is, the transaction too."""
        for cursor in tuple(self._cursors):
            cursor.close()
        self._cursors.clear()
        super().close()
