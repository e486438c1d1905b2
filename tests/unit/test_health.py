"""Readings in, a verdict out: thresholds with a way back, and what cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.health import SIGNALS, Guard, Reading, judge, rate, told
from datamigrate.words.errors import UsageError
from datamigrate.words.size import human_size, parse_size

LAG = Guard("replica_lag", high=10, low=5)
LOCKS = Guard("lock_waits", high=8, low=4)
ASKED = Guard("function", 0, 0, closed=True)
OTHERS = Guard("others", high=4, low=2, closed=True, slows=True)


def why(guard: Guard, reading: Reading, holds: bool = False) -> str | None:
    return judge([guard], {guard.signal: reading}, [guard.signal] if holds else []).why


@pytest.mark.parametrize(
    ("seconds", "held_before", "held_now"),
    [(10, False, False), (10.1, False, True), (10.1, True, True), (5.1, True, True), (5, True, False)],
)
def test_it_is_held_back_above_high_until_it_is_down_at_low(
    seconds: float, held_before: bool, held_now: bool
) -> None:
    assert (why(LAG, Reading(seconds), held_before) is not None) is held_now


@given(st.lists(st.floats(0, 20), max_size=50))
def test_it_changes_its_mind_only_across_the_whole_gap(values: list[float]) -> None:
    holding: list[str] = []
    for value in values:
        before, holding = holding, list(judge([LAG], {"replica_lag": Reading(value)}, holding).reasons)
        if holding != before:
            assert value > LAG.high if holding else value <= LAG.low


def test_the_reason_says_how_it_is_and_when_it_goes_on() -> None:
    verdict = judge([LAG, LOCKS], {"replica_lag": Reading(12), "lock_waits": Reading(1200)})
    assert verdict.why == (
        "replica lag 12.0s, goes on at 5.0s; sessions waiting for locks 1,200, goes on at 4"
    )
    assert list(verdict.reasons) == ["replica_lag", "lock_waits"]


def test_one_signal_that_is_well_again_does_not_speak_for_another() -> None:
    readings = {"replica_lag": Reading(6), "lock_waits": Reading(6)}
    assert list(judge([LAG, LOCKS], readings, ["replica_lag"]).reasons) == ["replica_lag"]


def test_nothing_to_measure_and_nothing_read_yet_hold_nobody_back() -> None:
    assert why(LAG, Reading(None), holds=True) is None
    assert judge([LAG], {}).why is None


def test_what_cannot_be_read_holds_it_back_only_when_closed() -> None:
    trouble = Reading(trouble="permission denied")
    assert why(LAG, trouble, holds=True) is None
    closed = Guard("replica_lag", 10, 5, closed=True)
    assert why(closed, trouble) == "replica lag cannot be read: permission denied"


@pytest.mark.parametrize(
    ("reading", "acts", "slow"),
    [
        (Reading(5), False, "other sessions at work: 5"),
        (Reading(4), False, None),
        (Reading(4), True, "other sessions at work: 4"),
        (Reading(2), True, None),
        (Reading(trouble="no"), False, "other sessions at work cannot be read: no"),
    ],
)
def test_some_slow_it_down_and_do_not_hold_it_back(reading: Reading, acts: bool, slow: str | None) -> None:
    verdict = judge([LAG, OTHERS], {"others": reading}, ["others"] if acts else [])
    assert (verdict.why, verdict.why_slow) == (None, slow)
    assert verdict.acting == ({"others"} if slow else set())


def test_somebody_elses_words_are_the_reason() -> None:
    assert why(ASKED, Reading(1.0, word="month's end")) == "month's end"
    assert why(ASKED, Reading(0.0)) is None


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_can_be_shown(name: str) -> None:
    told = why(Guard(name, 1, 0), Reading(1_000_000.0))
    assert told is not None
    assert told.startswith(SIGNALS[name].title)


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading(2), "replica lag 2.0s, lets a run go on (above 10.0s it waits)"),
        (Reading(12), "replica lag 12.0s, holds a run back (above 10.0s it waits)"),
        (Reading(None), "replica lag: nothing to measure here"),
        (Reading(trouble="no"), "replica lag cannot be read: no; a run goes on without it"),
    ],
)
def test_how_a_signal_stands_can_be_told(reading: Reading, said: str) -> None:
    assert told(LAG, reading) == said


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading(2), "other sessions at work 2, lets a run go on (above 4 it goes slowly)"),
        (Reading(12), "other sessions at work 12, slows a run down (above 4 it goes slowly)"),
        (Reading(trouble="no"), "other sessions at work cannot be read: no; a run goes slowly"),
    ],
)
def test_what_slows_it_down_can_be_told_too(reading: Reading, said: str) -> None:
    assert told(OTHERS, reading) == said


@pytest.mark.parametrize(
    ("before", "now", "growth"),
    [
        (None, (5.0, 1.0), None),
        ((100.0, 1.0), (300.0, 3.0), 100.0),
        ((300.0, 1.0), (100.0, 3.0), None),  # begun anew
        ((100.0, 1.0), (300.0, 1.0), None),
    ],
)
def test_a_rate_needs_two_readings(
    before: tuple[float, float] | None, now: tuple[float, float], growth: float | None
) -> None:
    assert rate(before, now) == growth


@pytest.mark.parametrize(
    ("said", "size"), [("4096", 4096), ("1kB", 1024), ("64MB", 64 * 1024**2), ("1.5 gb", 1.5 * 1024**3)]
)
def test_a_size_is_read_as_people_write_it(said: str, size: float) -> None:
    assert parse_size(said) == size


@pytest.mark.parametrize("said", ["", "MB", "big", "-1MB", "1 mile"])
def test_what_is_no_size_is_refused_with_examples(said: str) -> None:
    with pytest.raises(UsageError, match="64MB"):
        parse_size(said)


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 kB"), (1.5 * 1024**3, "1.5 GB")]
)
def test_a_size_is_shown_in_the_unit_that_suits_it(size: float, shown: str) -> None:
    assert human_size(size) == shown
