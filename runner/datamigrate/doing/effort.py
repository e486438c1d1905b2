"""What the workers of one process have in common: the place they work at, and their effort on one migration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import anyio

from datamigrate.database.database import Database
from datamigrate.database.ledger.store import Ledger
from datamigrate.doing.hours import ANY_HOUR, Hours
from datamigrate.doing.stopping import Stop
from datamigrate.thought.lifecycle import BACK, FORTH, Course, Standing, what_then
from datamigrate.thought.tuning import UNTUNED, Tuning
from datamigrate.words import events
from datamigrate.words.claim import Tally


class Outcome(Enum):
    """How a worker ended, when nothing failed."""

    DONE = "done"
    STOPPED = "stopped"
    NOTHING_FREE = "nothing free"


Brake = Callable[[str], str | None]
"""Why the migration of this name has to wait now before its next batch, or go slowly, or None. It is asked between
any two batches, so it answers from what it knows already."""


@dataclass(frozen=True, eq=False)
class Workplace:
    """What all migrations of a run share. Without `wait`, a claim that is held is an error; without
    `allow_slow`, so is work whose every batch would read or sort a large table. Any of the `brakes` keeps a
    migration waiting; `others` tells for whom it makes room. What has a window is worked on within its `hours`."""

    database: Database
    ledger: Ledger
    stop: Stop
    publish: events.Publish
    wait: bool = True
    allow_slow: bool = False
    brakes: tuple[Brake, ...] = ()
    others: Brake = lambda _: None
    hours: Hours = ANY_HOUR

    def why_wait(self, name: str) -> str | None:
        """What a migration has to wait for, or None when it may go on."""
        return "; ".join(filter(None, (brake(name) for brake in self.brakes))) or None


@dataclass(eq=False)
class Effort:
    """What the workers of this process have in common on one migration: what has been `done` so far, and how many
    rows of it `before`; when they `began`, whether it `is_uncounted` how many are pending, whether there are ranges for
    others (`is_divided`), and how often the key space was swept; whether one of them has `failed`; the word of the operator who has `halted` them, and their
    `tuning` by another; whether they go slowly for others (`makes_room`); how many are `at_work`, what they are
    `waiting` for, and how many rows were found `quarantined` in the end; whether the end has been `told`, why the
    window is shut (`why_shut`), and what they have `stopped_for`."""

    done: Tally = field(default_factory=Tally)
    before: int = 0
    began: float | None = None
    is_uncounted: bool = False
    is_divided: bool = False
    sweeps: int = 0
    failed: bool = False
    halted: Standing | None = None
    tuning: Tuning = UNTUNED
    makes_room: bool = False
    at_work: int = 0
    quarantined: int = 0
    waiting: str | None = None
    told: bool = False
    why_shut: Callable[[], str | None] = lambda: None
    stopped_for: str = ""
    _news: anyio.Event = field(default_factory=anyio.Event)

    async def news(self, seconds: float) -> None:
        """Wait until one of the workers is through with its range, but not longer than so many seconds."""
        with anyio.move_on_after(seconds):
            await self._news.wait()

    def tell_news(self) -> None:
        """One is through with its range."""
        self._news.set()
        self._news = anyio.Event()

    def why_stop(self, stop: Stop) -> str | None:
        """Why the workers should leave now, or None to go on."""
        if self.failed:
            return "another worker has failed"
        return str(self.halted) if self.halted else stop.why() or self.why_shut()

    def stopped(self, name: str, publish: events.Publish, why: str, course: Course = FORTH) -> Outcome:
        """The work on this migration has stopped before its end. The last worker who leaves tells so, and how it
        goes on."""
        then = what_then(name, self.halted.state) if self.halted else "run again to go on"
        if course is BACK:
            then = f"`datamigrate revert {name}` goes on"
        self.stopped_for = why
        if not self.failed and self.at_work <= 1:
            self.tell_end(publish, events.Stopped(name, self.done.rows, why, then))
        return Outcome.STOPPED

    def tell_end(self, publish: events.Publish, event: events.Event) -> None:
        """Publish how it ended, once for all workers."""
        if not self.told:
            self.told = True
            publish(event)
