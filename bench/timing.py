"""How long the changes of a batch take, their commits included, as the client sees it."""

import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

CHANGE = "UPDATE people"


class Changes:
    """In `seconds` how long each took of the statements that begin with `CHANGE`, with the commit that follows it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0
        self._changed: Any = None
        event.listen(Engine, "before_cursor_execute", self._before)
        event.listen(Engine, "after_cursor_execute", self._after)
        # no event tells when a commit is through
        self._commit: Any = DefaultDialect.do_commit
        DefaultDialect.do_commit = self._timed_commit()  # type: ignore[method-assign] # it is replaced on purpose

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(CHANGE):
            self._began = time.monotonic()

    def _after(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(CHANGE):
            self.seconds.append(time.monotonic() - self._began)
            self._changed = connection.connection.dbapi_connection

    def _timed_commit(self) -> Any:
        def commit(dialect: Any, connection: Any) -> None:
            began = time.monotonic()
            self._commit(dialect, connection)
            if connection.dbapi_connection is self._changed:
                self.seconds[-1] += time.monotonic() - began
                self._changed = None

        return commit
