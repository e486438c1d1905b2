"""Windows by the clock on a wall: over midnight, on some weekdays, when the clock is set forward or back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.window import Window, next_time, parse_window, told
from datamigrate.words.errors import UsageError

BERLIN = "Europe/Berlin"
NIGHT = parse_window("22:00-06:00 Europe/Berlin")


def there(text: str, zone: str = BERLIN, fold: int = 0) -> datetime:
    """The moment at which a clock shows this; `fold` 1 is the second time in autumn."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("window", "time", "is_open"),
    [
        ("22:00-06:00", "2026-11-26 21:59", False),
        ("22:00-06:00", "2026-11-26 22:00", True),
        ("22:00-06:00", "2026-11-27 05:59", True),
        ("22:00-06:00", "2026-11-27 06:00", False),
        ("09:30-17:00", "2026-11-27 09:30", True),
        ("09:30-17:00", "2026-11-27 17:00", False),
        ("00:00-24:00", "2026-11-27 23:59", True),
        # over midnight a day is the one on which it begins: 2026-11-28 is a Saturday
        ("Fri 22:00-06:00", "2026-11-28 05:00", True),
        ("Fri 22:00-06:00", "2026-11-27 05:00", False),
        ("Fri 22:00-06:00", "2026-11-28 22:30", False),
        ("Sun 22:00-06:00", "2026-11-30 01:00", True),
        ("Sat-Sun 00:00-24:00", "2026-11-29 23:59", True),
        ("Sat-Sun 00:00-24:00", "2026-11-30 00:00", False),
        ("Fri-Mon 00:00-24:00", "2026-11-30 12:00", True),
        ("Fri-Mon 00:00-24:00", "2026-12-01 12:00", False),
        ("Mon Wed 12:00-13:00", "2026-12-02 12:00", True),
        ("Mon Wed 12:00-13:00", "2026-12-01 12:00", False),
        ("mon-fri 22:00-24:00, SAT-SUN 00:00-24:00", "2026-11-28 12:00", True),
        ("mon-fri 22:00-24:00, SAT-SUN 00:00-24:00", "2026-11-27 12:00", False),
    ],
)
def test_it_is_open_while_the_clock_shows_a_time_within_it(window: str, time: str, is_open: bool) -> None:
    assert parse_window(f"{window} {BERLIN}").is_open(there(time)) is is_open


def test_it_opens_and_closes_on_the_minute() -> None:
    noon = there("2026-11-26 12:00:30")
    assert NIGHT.opens(noon) == there("2026-11-26 22:00")
    assert NIGHT.closes(there("2026-11-26 23:15:30")) == there("2026-11-27 06:00")
    assert NIGHT.opens(there("2026-11-26 23:15:30")) == there("2026-11-26 23:15:30")
    assert NIGHT.closes(noon) == noon


def test_one_that_is_always_open_never_closes() -> None:
    assert parse_window("00:00-24:00").closes(there("2026-11-26 12:00")) is None
    assert parse_window("00:00-12:00, 12:00-24:00").closes(there("2026-11-26 12:00")) is None


def test_a_night_in_spring_is_an_hour_shorter_and_one_in_autumn_an_hour_longer() -> None:
    for evening, hours in (("2026-03-28 22:00", 7), ("2026-10-24 22:00", 9), ("2026-11-26 22:00", 8)):
        opens = there(evening)
        closes = NIGHT.closes(opens)
        assert closes
        assert closes - opens == timedelta(hours=hours)


def test_what_begins_in_the_hour_that_is_skipped_begins_when_the_clock_goes_on() -> None:
    window = parse_window(f"02:30-04:00 {BERLIN}")
    assert window.opens(there("2026-03-29 00:00")) == there("2026-03-29 03:00")
    assert window.closes(there("2026-03-29 03:00")) == there("2026-03-29 04:00")


def test_what_lies_in_the_hour_that_is_skipped_waits_for_the_next_day() -> None:
    window = parse_window(f"Sun 02:15-02:45 {BERLIN}")
    assert window.opens(there("2026-03-29 00:00")) == there("2026-04-05 02:15")


def test_the_hour_that_is_lived_twice_is_open_twice() -> None:
    window = parse_window(f"22:00-02:30 {BERLIN}")
    assert window.closes(there("2026-10-24 23:00")) == there("2026-10-25 02:30", fold=0)
    assert window.opens(there("2026-10-25 02:30", fold=0)) == there("2026-10-25 02:00", fold=1)
    assert window.closes(there("2026-10-25 02:00", fold=1)) == there("2026-10-25 02:30", fold=1)


def test_it_is_told_as_it_was_written_with_its_zone() -> None:
    assert str(parse_window("  Sat-Sun   00:00-24:00 Asia/Tokyo")) == "Sat-Sun 00:00-24:00 Asia/Tokyo"
    assert str(parse_window("22:00-06:00")) == "22:00-06:00 UTC"
    assert str(parse_window("22:00-06:00", BERLIN)) == "22:00-06:00 Europe/Berlin"
    assert told(there("2026-11-27 02:00"), BERLIN) == "2026-11-27 02:00 Europe/Berlin"
    assert parse_window("1:00-2:00 Etc/GMT+5").zone == "Etc/GMT+5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no window"),
        ("nights", "is no window"),
        ("22-06", "is no window"),
        ("22:00-06:00 Middle/Earth", "'Middle/Earth' is no time zone"),
        ("22:00-06:00 Europe", "'Europe' is no time zone"),
        ("22:00-06:00 ../etc/passwd", "is no window"),
        ("22:00-06:00 /etc/passwd", "is no window"),
        ("25:00-06:00", "not understood"),
        ("22:60-23:00", "not understood"),
        ("24:00-06:00", "not understood"),
        ("10:00-10:00", "has no length"),
        ("Someday 10:00-11:00", "'Someday' is no weekday"),
        ("Mon-Someday 10:00-11:00", "is no weekday"),
        ("10:00-11:00,", "is no window"),
        ("10:00-11:00,,12:00-13:00", "not understood"),
        ("10:00-11:00 Europe/Berlin, 12:00-13:00 Asia/Tokyo", "not understood"),
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_window(text)
    assert "Europe/Berlin" in caught.value.hint


def test_the_next_time_of_the_day_may_be_tomorrow() -> None:
    evening = there("2026-11-26 22:00")
    assert next_time("06:00", BERLIN, evening) == there("2026-11-27 06:00")
    assert next_time("22:30", BERLIN, evening) == there("2026-11-26 22:30")
    assert next_time("22:00", BERLIN, evening) == there("2026-11-27 22:00")
    assert next_time("07:00 Asia/Tokyo", BERLIN, evening) == there("2026-11-27 07:00", "Asia/Tokyo")
    assert next_time("24:00", BERLIN, evening) == there("2026-11-27 00:00")


@pytest.mark.parametrize(
    "text", ["", "6", "six", "25:00", "06:00 Middle/Earth", "06:00 Europe/Berlin please"]
)
def test_what_is_no_time_of_the_day_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        next_time(text, "UTC", there("2026-11-26 22:00"))


minutes = st.integers(0, 24 * 60 - 1)
zones = st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))
around_a_change = st.sampled_from(
    [there("2026-03-29 01:00"), there("2026-10-25 01:00"), there("2026-03-08 01:00", "America/New_York")]
).flatmap(lambda d: st.integers(-300, 300).map(lambda minutes: d + timedelta(minutes=minutes)))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    begins, ends = draw(minutes), draw(minutes)
    if begins == ends:
        ends += 1
    shown = [f"{minute // 60:02}:{minute % 60:02}" for minute in (begins, ends)]
    days = draw(st.sampled_from(["", "Mon-Fri ", "Sat-Sun ", "Sun "]))
    return parse_window(f"{days}{'-'.join(shown)}", draw(zones))


@given(windows(), moments | around_a_change)
def test_between_a_moment_and_the_next_change_nothing_changes(window: Window, moment: datetime) -> None:
    if window.is_open(moment):
        change = window.closes(moment)
        assert change
        assert not window.is_open(change)
    else:
        change = window.opens(moment)
        assert window.is_open(change)
    assert window.is_open(change - timedelta(seconds=1)) is window.is_open(moment)
    between = (change - moment) / 2
    assert window.is_open(moment + between) is window.is_open(moment)


@given(st.text(max_size=30) | st.text("0123456789:-, MonFriSu/", max_size=40))
def test_any_text_is_a_window_or_refused(text: str) -> None:
    try:
        window = parse_window(text)
    except UsageError:
        return
    assert window.opens(there("2026-11-26 12:00"))


@given(minutes, zones, moments | around_a_change)
def test_the_next_time_is_after_the_moment_and_within_a_day_or_so(
    minute: int, zone: str, moment: datetime
) -> None:
    found = next_time(f"{minute // 60}:{minute % 60:02}", zone, moment)
    assert moment < found <= moment + timedelta(hours=26)
