"""The hours at which the migrations of a run may be worked on, by the clock that counts: the database's."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from datamigrate.thought.agenda import ANY_TIME, Timetable
from datamigrate.thought.window import told
from datamigrate.words.migration import Options

Clock = Callable[[], datetime]


def going_on_from(moment: datetime) -> Clock:
    """A clock that was right at this moment and goes on by itself, whatever this host takes the time to be."""
    began = time.monotonic()
    return lambda: moment + timedelta(seconds=time.monotonic() - began)


@dataclass(frozen=True)
class Hours:
    """A project's timetable and a clock; with `ignored` any hour will do."""

    timetable: Timetable = ANY_TIME
    clock: Clock = field(default_factory=lambda: going_on_from(datetime.now(UTC)))
    ignored: bool = False

    def until_it_shuts(self, options: Options) -> Callable[[], str | None]:
        """What says, whenever it is asked from now on, why a script has to stop; None while its window is open."""
        window = None if self.ignored else self.timetable.window_of(options)
        shuts = window.closes(self.clock()) if window else None
        if window is None or shuts is None:
            return _never

        def why() -> str | None:
            if (now := self.clock()) < shuts:
                return None
            return f"outside its window {window}, which opens {told(window.opens(now), window.zone)}"

        return why


def _never() -> None:
    return None


ANY_HOUR = Hours()
