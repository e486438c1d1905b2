"""Deaths at chosen moments: the process is gone, and what it had not committed goes with it."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

BEGIN, COMMIT = "begin", "commit"


class Killed(BaseException):
    """Stands for SIGKILL: nobody handles it, and the database is not heard of after it."""


@dataclass
class Killer:
    """Kills the process at its n-th step: a statement about to be sent, or a commit about to be made.

    Steps are counted from the one on that contains `since`.
    """

    since: str = ""
    at: int = 0
    steps: list[str] = field(default_factory=list)

    @property
    def has_killed(self) -> bool:
        """Whether it came to that."""
        return 0 < self.at <= len(self.steps)

    def aim(self, at: int) -> None:
        """Begin to count for another process; 0 lets it live."""
        self.at, self.steps = at, []

    def __call__(self, step: str) -> None:
        if self.steps or self.since in step:
            self.steps.append(step)
        if self.has_killed:
            raise Killed


@dataclass
class CommitsOf:
    """Hands to a killer the commits of transactions in which one of these tables was touched."""

    tables: Iterable[str]
    killer: Killer
    touched: str = ""

    def __call__(self, step: str) -> None:
        if self.killer.has_killed:
            raise Killed
        if step == COMMIT and self.touched:
            self.killer(f"{COMMIT} of {self.touched}")
        if step in (BEGIN, COMMIT):
            self.touched = ""
        elif any(re.search(rf"\b{re.escape(table)}\b", step) for table in self.tables):
            self.touched = step


def only_killed(error: BaseException) -> bool:
    """Whether an error is a death, or several workers' deaths, and nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(only_killed(inner) for inner in error.exceptions)
    return isinstance(error, Killed)


@contextmanager
def at_every_step(database: str, react: Callable[[str], None]) -> Iterator[None]:
    """Call `react` with each statement before it is sent to the database of this name, and with BEGIN and
    COMMIT before each of these there, whichever engine is used."""

    def statement(connection: Connection, _cursor: Any, text: str, *_: Any) -> None:
        if database in str(connection.engine.url.database):
            react(text)

    def commit(connection: Connection) -> None:
        if database in str(connection.engine.url.database):
            react(COMMIT)

    def begin(connection: Connection) -> None:
        if database in str(connection.engine.url.database):
            react(BEGIN)

    listeners: dict[str, Callable[..., None]] = {
        "before_cursor_execute": statement,
        "begin": begin,
        "commit": commit,
    }
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)
