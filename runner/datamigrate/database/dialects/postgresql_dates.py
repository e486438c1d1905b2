"""Days, moments and times of day between asyncpg and PostgreSQL.

asyncpg itself takes the last day that Python has, 9999-12-31, for infinity, and the first for minus infinity: a value that
was read would be written back as another one. Of a time of day it leaves out the zone where the column has none, and the
seconds of its offset.
"""

from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import partial
from typing import Any

from datamigrate.words.infinity import InfiniteDate, InfiniteMoment, infinite_day, infinite_moment

# https://www.postgresql.org/docs/current/datatype-datetime.html: counted from the year 2000, with the ends for infinity
_FIRST_DAY = date(2000, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal()
_FIRST_MOMENT = datetime(2000, 1, 1)
_TICK = timedelta(microseconds=1)
_DAYS = -(2**31), 2**31 - 1
_TICKS = -(2**63), 2**63 - 1
_TICKS_OF_A_DAY = timedelta(days=1) // _TICK

_HAS_A_ZONE = (
    "that has a time zone, for a type that has none: declare the column as sa.{}(timezone=True) if it has one, "
    "else give a value without"
)


async def take_over_dates(connection: Any) -> None:
    """Have this connection of the driver tell infinity from the last day there is, and lose no zone."""
    codecs = {
        "date": (day_to, day_from),
        "timestamp": (partial(moment_to, None), partial(moment_from, None)),
        "timestamptz": (partial(moment_to, UTC), partial(moment_from, UTC)),
        "time": (time_to, time_from),
        "timetz": (zoned_time_to, zoned_time_from),
    }
    for name, (encoder, decoder) in codecs.items():
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="tuple"
        )


def day_to(day: date) -> tuple[int]:
    """A day as the server counts it."""
    if isinstance(day, InfiniteDate):
        return (_DAYS[day.year > 1],)
    return (day.toordinal() - _FIRST_DAY,)


def day_from(counted: tuple[int]) -> date:
    """The day that the server has counted. Raises ValueError for one that Python has not."""
    (days,) = counted
    if days in _DAYS:
        return infinite_day(days > 0)
    if not 0 < days + _FIRST_DAY <= _LAST_DAY:
        raise ValueError("a date before the year 1 or behind the year 9999, which Python cannot hold")
    return date.fromordinal(days + _FIRST_DAY)


def moment_to(zone: Any, moment: date) -> tuple[int]:
    """A moment as the server counts it; with a `zone` one that has none is local time. Raises ValueError where there is
    no `zone` and the moment has one."""
    if isinstance(moment, InfiniteMoment | InfiniteDate):
        return (_TICKS[moment.year > 1],)
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if zone is not None:
        moment = moment.astimezone(zone) if moment.tzinfo is not zone else moment
    elif moment.utcoffset() is not None:
        raise ValueError(f"a moment {_HAS_A_ZONE.format('DateTime')}")
    return ((moment.replace(tzinfo=None) - _FIRST_MOMENT) // _TICK,)


def moment_from(zone: Any, counted: tuple[int]) -> datetime:
    """The moment that the server has counted. Raises ValueError for one that Python has not."""
    (ticks,) = counted
    if ticks in _TICKS:
        return infinite_moment(ticks > 0, zone)
    try:
        return (_FIRST_MOMENT + timedelta(microseconds=ticks)).replace(tzinfo=zone)
    except OverflowError:
        raise ValueError(
            "a moment before the year 1 or behind the year 9999, which Python cannot hold"
        ) from None


def time_to(at: time) -> tuple[int]:
    """A time of day as the server counts it. Raises ValueError for one that has a zone."""
    if at.tzinfo is not None:
        raise ValueError(f"a time {_HAS_A_ZONE.format('Time')}")
    return ((datetime.combine(_FIRST_MOMENT, at) - _FIRST_MOMENT) // _TICK,)


def time_from(counted: tuple[int]) -> time:
    """The time of day that the server has counted. Raises ValueError for the end of the day, which Python has not."""
    (ticks,) = counted
    if ticks >= _TICKS_OF_A_DAY:
        raise ValueError("the time 24:00:00, which Python cannot hold")
    return (_FIRST_MOMENT + timedelta(microseconds=ticks)).time()


def zoned_time_to(at: time) -> tuple[int, int]:
    """A time of day as the server counts it, and how many seconds its zone is behind. Raises ValueError where it has no
    zone, or one that is not always the same."""
    offset = at.utcoffset()
    if offset is None:
        raise ValueError("a time that has no offset from UTC, for a type that has one")
    return (*time_to(at.replace(tzinfo=None)), -(offset // timedelta(seconds=1)))


def zoned_time_from(counted: tuple[int, int]) -> time:
    """The time of day and the zone that the server has counted. Raises ValueError for the end of the day."""
    ticks, behind = counted
    return time_from((ticks,)).replace(tzinfo=timezone(timedelta(seconds=-behind)))
