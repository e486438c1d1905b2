"""What a moment makes of windows and schedules: what may be worked on now, what is due, and what waits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from datamigrate.thought.schedule import Schedule, parse_schedule
from datamigrate.thought.window import Window, parse_window, told
from datamigrate.words.migration import Migration, Options


@dataclass(frozen=True)
class Timetable:
    """What a project says of the times of all its scripts: the window of those that name none, and the time
    zone of whatever names none."""

    window: str | None = None
    zone: str = "UTC"

    def window_of(self, options: Options) -> Window | None:
        """A script's window: its own, else the project's; None is always."""
        text = options.window or self.window
        return parse_window(text, self.zone) if text else None

    def schedule_of(self, options: Options) -> Schedule | None:
        """A script's schedule, by the clock of its window; None for one that is done once."""
        if options.schedule is None:
            return None
        window = self.window_of(options)
        return parse_schedule(options.schedule, window.zone if window else self.zone)


ANY_TIME = Timetable()


@dataclass(frozen=True)
class Recurrence:
    """What the ledger remembers of a schedule: how it reads and since when, for which due time the latest
    occurrence was begun, and whether that one `is_open`, that is not done yet."""

    schedule: str | None = None
    since: datetime | None = None
    due: datetime | None = None
    is_open: bool = False


UNSCHEDULED = Recurrence()

THE_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""The moment of those to whom nobody has told the time."""


@dataclass(frozen=True)
class Turn:
    """Where a recurring migration stands among its due times.

    `due` is one for which no occurrence was begun yet (of several the latest, so that what was missed is
    caught up once), `next` the first that is still to come.
    """

    next: datetime
    zone: str
    due: datetime | None = None
    is_open: bool = False
    is_asked: bool = False

    @property
    def why(self) -> str:
        """Why it is time to run, in a few words."""
        if self.is_asked or self.due is None:
            return "asked for by name"
        return f"due since {told(self.due, self.zone)}"


@dataclass(frozen=True)
class Agenda:
    """A moment, a project's timetable, and what is wanted of a run.

    Whatever is `asked` for by name is due now. With `only_due` nothing but what recurs is looked at, with
    `ignores_windows` no window counts. Without `retries_failed` what has failed is left alone until an
    operator or an edit puts it right; so is what is `spared`, as long as its script (by its checksum) and
    its record (by the time of its last move) are as they are there.
    """

    now: datetime = THE_BEGINNING
    timetable: Timetable = ANY_TIME
    asked: frozenset[str] = frozenset()
    only_due: bool = False
    ignores_windows: bool = False
    retries_failed: bool = True
    spared: Mapping[str, tuple[str, datetime | None]] = field(default_factory=dict)

    def turn(self, migration: Migration, known: Recurrence) -> Turn | None:
        """Where it stands among its due times; None for one that does not recur."""
        schedule = self.timetable.schedule_of(migration.options)
        if schedule is None:
            return None
        after = schedule.next(self.now)
        if migration.name in self.asked and not known.is_open:
            return Turn(after, schedule.zone, due=self.now, is_asked=True)
        due: datetime | None = schedule.latest(self.now)
        known_times = [time for time in (known.since, known.due) if time]
        if due and (known.schedule != str(schedule) or due <= max(known_times)):
            # one that is new, or has another schedule now, has missed nothing
            due = None
        return Turn(after, schedule.zone, due, known.is_open)

    def shut(self, migration: Migration) -> Window | None:
        """Its window, if that is shut now."""
        window = None if self.ignores_windows else self.timetable.window_of(migration.options)
        return window if window and not window.is_open(self.now) else None
