"""Infinity is not the last day there is: not to Python, not to the driver, and not in a cursor."""

import pickle
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.database.dialects.postgresql_dates import (
    day_from,
    day_to,
    moment_from,
    moment_to,
    time_from,
    time_to,
    zoned_time_from,
    zoned_time_to,
)
from datamigrate.thought.codec import decode_key, encode_key, show_key
from datamigrate.words.infinity import infinite_day, infinite_moment

ENDS = [
    *(infinite_day(is_last) for is_last in (True, False)),
    *(infinite_moment(is_last, zone) for is_last in (True, False) for zone in (None, UTC)),
]
FINITE: dict[date, date] = dict(
    zip(
        ENDS,
        [
            date.max,
            date.min,
            datetime.max,
            datetime.max.replace(tzinfo=UTC),
            datetime.min,
            datetime.min.replace(tzinfo=UTC),
        ],
        strict=True,
    )
)


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_an_end_is_itself_and_no_day_in_a_cursor_a_process_and_a_sentence(end: date) -> None:
    assert end not in (FINITE[end], date.max, datetime.max)
    assert len({end, FINITE[end]}) == 2
    (again,) = decode_key(encode_key((end,)))
    assert (again, type(again)) == (end, type(end))
    assert decode_key(encode_key((FINITE[end],))) == (FINITE[end],)
    assert pickle.loads(pickle.dumps(end)) == end
    assert show_key((end,)) == str(end) == end.isoformat() in ("infinity", "-infinity")


@given(st.one_of(st.dates(), st.sampled_from([date.max, date.min, infinite_day(True), infinite_day(False)])))
def test_every_day_comes_back_from_the_driver(day: date) -> None:
    again = day_from(day_to(day))
    assert (again, type(again)) == (day, type(day))


@given(st.one_of(st.datetimes(), st.sampled_from([end for end in ENDS if isinstance(end, datetime)])))
def test_every_moment_comes_back_from_the_driver(moment: datetime) -> None:
    again = moment_from(moment.tzinfo, moment_to(moment.tzinfo, moment))
    assert (again, type(again)) == (moment, type(moment))


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    moment = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert moment_from(UTC, moment_to(UTC, moment)) == moment


@given(st.times())
def test_every_time_comes_back_from_the_driver(at: time) -> None:
    assert time_from(time_to(at)) == at


@given(st.times(), st.integers(-57_599, 57_599))
def test_every_time_comes_back_with_the_seconds_of_its_offset(at: time, seconds: int) -> None:
    zoned = at.replace(tzinfo=timezone(timedelta(seconds=seconds)))
    again = zoned_time_from(zoned_time_to(zoned))
    assert (again, again.utcoffset()) == (zoned, zoned.utcoffset())


def test_a_zone_is_not_lost_on_the_way_to_a_type_that_has_none() -> None:
    with pytest.raises(ValueError, match=r"sa\.DateTime\(timezone=True\)"):
        moment_to(None, datetime(2026, 3, 29, tzinfo=UTC))
    with pytest.raises(ValueError, match=r"sa\.Time\(timezone=True\)"):
        time_to(time(2, 30, tzinfo=UTC))


def test_a_time_without_an_offset_is_not_taken_for_one_of_some_zone() -> None:
    with pytest.raises(ValueError, match="no offset from UTC"):
        zoned_time_to(time(2, 30))


def test_a_day_is_the_moment_at_which_it_begins() -> None:
    assert moment_from(None, moment_to(None, date(2026, 3, 29))) == datetime(2026, 3, 29)


@pytest.mark.parametrize(
    "read",
    [
        partial(day_from, (-800_000,)),
        partial(moment_from, None, (-(10**17),)),
        partial(time_from, (86_400_000_000,)),
    ],
)
def test_what_python_cannot_hold_is_told_in_words(read: Any) -> None:
    with pytest.raises(ValueError, match="which Python cannot hold"):
        read()
