"""Durations, read and written as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.words.duration import human_duration, parse_duration
from datamigrate.words.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("1.5", 1.5),
        ("90s", 90),
        ("500ms", 0.5),
        ("25m", 1500),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 2D ", 172800),
        ("2d4h", 187200),
        ("1.5h", 5400),
        ("1m500ms", 60.5),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "-5", "-5s", "5x", "s", "1h30", "1e3", "inf", "nan", "1,5h", ".5s", "5.", "1w"]
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no duration") as caught:
        parse_duration(text)
    assert "1h30m" in caught.value.hint


@given(st.text(alphabet="0123456789.msdh -x") | st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except UsageError:
        return
    assert seconds >= 0


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_the_parts_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    assert parse_duration(text) == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (0.04, "0.0s"),
        (4.16, "4.2s"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (60, "1m"),
        (61, "1m 1s"),
        (725, "12m 5s"),
        (3599.4, "59m 59s"),
        (3599.7, "1h"),
        (3600, "1h"),
        (3601, "1h"),
        (12000, "3h 20m"),
        (86399.9, "1d"),
        (86400, "1d"),
        (187200, "2d 4h"),
        (86400 + 60, "1d"),
        (365 * 86400, "365d"),
    ],
)
def test_a_duration_is_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@given(st.floats(0, 1e9))
def test_what_is_told_can_be_read_again_and_is_near(seconds: float) -> None:
    told = human_duration(seconds)
    assert len(told.split()) <= 2
    assert told.split()[0] not in ("60s", "60.0s", "60m", "24h")
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}[told.split()[0][-1]]
    assert abs(parse_duration(told) - seconds) <= max(0.51, unit / 24)
