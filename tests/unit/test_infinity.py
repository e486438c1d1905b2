"""Infinity is not the last day there is: not to Python, not to the driver, and not in a cursor."""

import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.database.dialects.postgresql_dates import day_from, day_to, moment_from, moment_to
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


def test_a_day_is_the_moment_at_which_it_begins() -> None:
    assert moment_from(None, moment_to(None, date(2026, 3, 29))) == datetime(2026, 3, 29)


@pytest.mark.parametrize("read", [partial(day_from, (-800_000,)), partial(moment_from, None, (-(10**17),))])
def test_what_python_cannot_hold_is_told_in_words(read: Any) -> None:
    with pytest.raises(ValueError, match="before the year 1"):
        read()
