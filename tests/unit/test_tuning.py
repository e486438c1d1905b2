"""The pace that an operator sets, and what it outranks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.doing.settings import Settings, for_script
from datamigrate.thought.pacing import Limits, Pace, fitted, fixed
from datamigrate.thought.tuning import UNTUNED, Tuning, retuned, tuning_from, tuning_kept
from datamigrate.words.migration import Options

tunings = st.builds(
    Tuning,
    st.none() | st.integers(1, 10**6),
    st.none() | st.floats(0.001, 1e6),
    st.none() | st.floats(0, 1e6),
    st.none() | st.integers(1, 64),
    st.none() | st.floats(0, 0.99),
)


@given(tunings)
def test_it_comes_back_as_it_was_kept(tuning: Tuning) -> None:
    assert tuning_from(tuning_kept(tuning)) == tuning


def test_nothing_is_kept_of_nothing_and_a_newer_programs_word_is_passed_over() -> None:
    assert tuning_kept(UNTUNED) is None
    assert tuning_from(None) == UNTUNED
    assert tuning_from('{"workers": 2, "brightness": 7}') == Tuning(workers=2)


def test_it_is_told_in_words() -> None:
    assert str(Tuning(batch_size=10, max_pause=90)) == "batch size 10, max pause 1m 30s"
    assert str(UNTUNED) == ""


def test_another_word_is_added_and_rows_and_time_replace_each_other() -> None:
    first = retuned(Tuning(workers=2), Tuning(batch_size=10))
    assert first == Tuning(workers=2, batch_size=10)
    assert retuned(first, Tuning(target_time=0.2)) == Tuning(workers=2, target_time=0.2)
    assert retuned(first, Tuning(nice=0.0)).nice == 0.0


def test_it_outranks_the_command_line_which_outranks_the_script() -> None:
    options = Options(batch_size=100, max_pause=1.0)
    assert for_script(Settings(), options, None).limits.max_rows == 100
    assert for_script(Settings(), options, 50).limits.max_rows == 50
    tuned = for_script(Settings(pause=5), options, 50, Tuning(batch_size=10, max_pause=2.0, workers=3))
    assert (tuned.limits.min_rows, tuned.limits.max_rows) == (10, 10)
    assert (tuned.pause, tuned.workers) == (2.0, 3)


def test_a_target_time_frees_a_batch_size_that_was_fixed() -> None:
    tuned = for_script(Settings(), Options(batch_size=100), 50, Tuning(target_time=0.2))
    assert tuned.limits == Limits(target_time=0.2)


def test_what_nobody_has_said_of_the_largest_batch_is_what_suits_the_database() -> None:
    assert Settings().suited(100_000).limits == Limits(max_rows=100_000)
    said = Settings(limits=Limits(max_rows=7))
    assert said.suited(100_000) == said


@pytest.mark.parametrize(
    ("settings", "seconds", "rest"),
    [
        (Settings(), 3.0, 0.0),
        (Settings(nice=0.5), 3.0, 3.0),
        (Settings(nice=0.75), 3.0, 9.0),
        (Settings(nice=0.75, max_pause=4.0), 3.0, 4.0),
        (Settings(nice=0.5, pause=5.0), 3.0, 5.0),
        (Settings(pause=5.0, max_pause=1.0), 3.0, 1.0),
    ],
)
def test_who_is_nice_rests_in_proportion_to_the_work(settings: Settings, seconds: float, rest: float) -> None:
    assert math.isclose(settings.pause_after(seconds), rest)


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        (Settings(), Limits(max_rows=1_000, target_time=0.05)),
        (Settings().suited(100_000), Limits(max_rows=1_000, target_time=0.05)),
        (
            Settings(limits=Limits(max_rows=300, target_time=0.01)),
            Limits(max_rows=300, target_time=0.01),
        ),
        (for_script(Settings(), Options(batch_size=5_000), None), fixed(Limits(), 5_000)),
    ],
)
def test_who_makes_room_has_small_batches_unless_their_size_is_said(
    settings: Settings, limits: Limits
) -> None:
    assert settings.making_room.limits == limits


@pytest.mark.parametrize(("workers", "rest"), [(1, 3.0), (2, 7.0), (4, 15.0)])
def test_all_workers_who_make_room_work_as_much_together_as_one_would(workers: int, rest: float) -> None:
    assert math.isclose(Settings(workers=workers).making_room.pause_after(1.0), rest)


@pytest.mark.parametrize(
    ("pace", "rows", "expected"),
    [
        (Pace(500, 500), 10, Pace(10, 10)),
        (Pace(10, 10), 500, Pace(500, 500)),
        (Pace(500, 4000), 10, Pace(10, 4000)),
    ],
)
def test_a_pace_is_fitted_to_new_limits(pace: Pace, rows: int, expected: Pace) -> None:
    assert fitted(pace, fixed(Limits(), rows)) == expected
