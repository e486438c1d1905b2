"""Windows: the times of the week at which work is welcome, by the clock on a wall somewhere.

A window is open whenever that clock shows a time within it. So an hour that is skipped in spring is no
part of it, and an hour that is lived twice in autumn is part of it twice.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from math import gcd
from zoneinfo import ZoneInfo

from datamigrate.words.errors import UsageError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_A_DAY = 24 * 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=15)
"""How far to look for a change: a window of one hour a week may fall into the hour that is skipped."""

_TIME = r"\d{1,2}:\d\d"
_WHOLE = re.compile(rf"(.*{_TIME})(?:\s+([A-Za-z]\S*))?", re.DOTALL)
_PIECE = re.compile(rf"(.*?)({_TIME})\s*-\s*({_TIME})", re.DOTALL)
_TIMED = re.compile(rf"({_TIME})(?:\s+(\S+))?")
_EXAMPLES = (
    "Write it like 22:00-06:00 Europe/Berlin, or Mon-Fri 22:00-06:00, Sat-Sun 00:00-24:00 Europe/Berlin."
)


@dataclass(frozen=True)
class Span:
    """From one minute of the day to another, on some weekdays (0 is Monday).

    One that ends before it begins runs over midnight, and belongs to the day on which it begins.
    """

    begins: int
    ends: int
    days: frozenset[int]

    def has(self, weekday: int, minute: int) -> bool:
        """Whether a minute of a weekday is within it."""
        if self.begins < self.ends:
            return weekday in self.days and self.begins <= minute < self.ends
        since_yesterday = (weekday - 1) % 7 in self.days and minute < self.ends
        return since_yesterday or (weekday in self.days and minute >= self.begins)


@dataclass(frozen=True)
class Window:
    """Spans of the week in one time zone. Moments are aware datetimes."""

    text: str
    spans: tuple[Span, ...]
    zone: str

    def is_open(self, moment: datetime) -> bool:
        """Whether the clock on that wall shows a time within one of the spans."""
        shown = moment.astimezone(ZoneInfo(self.zone))
        minute = shown.hour * 60 + shown.minute
        return any(span.has(shown.weekday(), minute) for span in self.spans)

    def opens(self, moment: datetime) -> datetime:
        """From when on it is open: `moment` itself, or the first minute after it."""
        if (found := self._first(moment, is_open=True)) is None:
            raise AssertionError(f"{self} never opens")
        return found

    def closes(self, moment: datetime) -> datetime | None:
        """The first minute from `moment` on at which it is shut; None when it never is."""
        return self._first(moment, is_open=False)

    def _first(self, moment: datetime, is_open: bool) -> datetime | None:
        # step by step, since a clock that is set forward or back makes any shortcut wrong twice a year; the
        # clocks of all zones differ by quarters of an hour, so that nothing changes between two steps
        if self.is_open(moment) is is_open:
            return moment.astimezone(UTC)
        step = timedelta(minutes=gcd(15, *(minute for s in self.spans for minute in (s.begins, s.ends))))
        minute = _EPOCH + (moment - _EPOCH) // step * step
        while (minute := minute + step) < moment + _AHEAD:
            if self.is_open(minute) is is_open:
                return minute
        return None

    def __str__(self) -> str:
        return f"{self.text} {self.zone}"


@cache
def parse_window(text: str, zone: str = "UTC") -> Window:
    """The window that a text describes; `zone` is meant where it names none. Raises UsageError."""
    squeezed = " ".join(text.split())
    if not (whole := _WHOLE.fullmatch(squeezed)):
        raise UsageError(f"{text!r} is no window.", _EXAMPLES)
    spans = tuple(_span(piece.strip(), text) for piece in whole[1].split(","))
    return Window(whole[1], spans, checked_zone(whole[2] or zone))


@cache
def checked_zone(name: str) -> str:
    """The name, if there is such a time zone. Raises UsageError."""
    try:
        return ZoneInfo(name).key
    except (KeyError, ValueError, OSError):
        raise UsageError(f"{name!r} is no time zone.", "Write it like Europe/Berlin, or UTC.") from None


def next_time(text: str, zone: str, moment: datetime) -> datetime:
    """The next time after `moment` at which the clock shows e.g. `06:00`, or `06:00 Europe/Berlin`.

    `zone` is meant where the text names none. Raises UsageError.
    """
    if not (found := _TIMED.fullmatch(text.strip())) or (minute := _minute(found[1])) is None:
        raise UsageError(f"{text!r} is no time of the day.", "Write it like 06:00, or 06:00 Europe/Berlin.")
    there = ZoneInfo(checked_zone(found[2] or zone))
    today = moment.astimezone(there).date()
    days = (today + timedelta(days=n) for n in range(3))
    at = time(*divmod(minute % _A_DAY, 60))
    times = (datetime.combine(day, at, there).astimezone(UTC) for day in days)
    return next(one for one in times if one > moment)


def told(moment: datetime, zone: str) -> str:
    """A moment as people there write it: `2026-11-27 02:00 Europe/Berlin`."""
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}"


def _span(piece: str, text: str) -> Span:
    if not (found := _PIECE.fullmatch(piece)):
        raise UsageError(f"{text!r} is no window: {piece!r} is not understood.", _EXAMPLES)
    begins, ends = _minute(found[2]), _minute(found[3])
    if begins is None or ends is None or begins == _A_DAY:
        raise UsageError(f"{text!r} is no window: {piece!r} is not understood.", _EXAMPLES)
    if begins == ends:
        raise UsageError(
            f"{text!r} is no window: {piece!r} has no length.", f"A whole day is 00:00-24:00. {_EXAMPLES}"
        )
    return Span(begins, ends % _A_DAY if begins > ends else ends, _days(found[1].split(), text))


def _minute(text: str) -> int | None:
    hours, minutes = map(int, text.split(":"))
    minute = hours * 60 + minutes
    return minute if minutes < 60 and minute <= _A_DAY else None


def _days(words: list[str], text: str) -> frozenset[int]:
    days: set[int] = set()
    for word in words:
        first, _, last = word.lower().partition("-")
        try:
            begins, ends = _DAYS.index(first), _DAYS.index(last or first)
        except ValueError:
            raise UsageError(f"{text!r} is no window: {word!r} is no weekday.", _EXAMPLES) from None
        days |= {(begins + n) % 7 for n in range((ends - begins) % 7 + 1)}
    return frozenset(days or range(7))
