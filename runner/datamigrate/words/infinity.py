"""Days and moments before all others and behind them, which PostgreSQL has and Python has not.

Each is what the driver would make of it, the first or the last day there is, but knows that it is not that day.
"""

from datetime import date, datetime, tzinfo


class InfiniteDate(date):
    """`date.max` for infinity, `date.min` for minus infinity."""

    def isoformat(self) -> str:
        """As the database writes it."""
        return _written(self)

    __str__ = __repr__ = isoformat

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InfiniteDate) and date.__eq__(self, other)

    def __hash__(self) -> int:
        return hash((InfiniteDate, date.__hash__(self)))


class InfiniteMoment(datetime):
    """`datetime.max` for infinity, `datetime.min` for minus infinity."""

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        """As the database writes it."""
        return _written(self)

    def __str__(self) -> str:
        return _written(self)

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InfiniteMoment) and datetime.__eq__(self, other)

    def __hash__(self) -> int:
        return hash((InfiniteMoment, datetime.__hash__(self)))


def infinite_day(is_last: bool) -> InfiniteDate:
    """Infinity, or minus infinity."""
    return InfiniteDate(*(date.max if is_last else date.min).timetuple()[:3])


def infinite_moment(is_last: bool, zone: tzinfo | None) -> InfiniteMoment:
    """Infinity, or minus infinity, where moments have a time zone or none."""
    end = datetime.max if is_last else datetime.min
    return InfiniteMoment(*end.timetuple()[:6], end.microsecond, zone)


def _written(end: date) -> str:
    return "infinity" if end.year > 1 else "-infinity"
