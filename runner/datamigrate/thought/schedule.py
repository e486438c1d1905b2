"""Schedules: the moments at which a recurring data migration is due, written as cron writes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from datamigrate.thought.window import checked_zone
from datamigrate.words.errors import UsageError

_EXAMPLES = 'Write it like cron: "0 2 * * *" is every day at 2:00, "30 4 * * MON" every Monday at 4:30.'

_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)

_LEEWAY = timedelta(hours=3)
"""More than any clock is set back by: a time that is lived twice counts once, and only then is it in order."""


@dataclass(frozen=True)
class Schedule:
    """Five fields of cron, by the clock of a time zone. Moments are aware datetimes.

    A time that is skipped in spring is due when the clock goes on, one that is lived twice in autumn the
    first time.
    """

    text: str
    zone: str

    def next(self, moment: datetime) -> datetime:
        """The first moment after this one at which it is due."""
        return next(due for due in self._from(moment - _LEEWAY) if due > moment)

    def latest(self, moment: datetime) -> datetime:
        """The last moment, up to this one, at which it was due."""
        return next(due for due in self._from(moment + _LEEWAY, backwards=True) if due <= moment)

    def _from(self, moment: datetime, backwards: bool = False) -> Iterator[datetime]:
        there = moment.astimezone(ZoneInfo(self.zone))
        for due in CronSim(self.text, there, reverse=backwards):
            yield due.astimezone(UTC)

    def __str__(self) -> str:
        return f"{self.text} {self.zone}"


@cache
def parse_schedule(text: str, zone: str = "UTC") -> Schedule:
    """The schedule that five fields describe. Raises UsageError."""
    squeezed = " ".join(text.split())
    if len(squeezed.split()) != 5:
        raise UsageError(f"{text!r} is no schedule: five fields are wanted.", _EXAMPLES)
    schedule = Schedule(squeezed, checked_zone(zone))
    try:
        schedule.next(_SOME_DAY)
    except CronSimError as error:
        raise UsageError(f"{text!r} is no schedule: {str(error).lower()}.", _EXAMPLES) from None
    except StopIteration:
        raise UsageError(f"{text!r} is no schedule: there is no such day.", _EXAMPLES) from None
    return schedule
