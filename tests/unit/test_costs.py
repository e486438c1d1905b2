"""What the rest will cost is foreseen from samples, as a band that holds what they say."""

from __future__ import annotations

import pytest

from datamigrate.thought.costs import Timing, forecast
from datamigrate.thought.pacing import Limits, fixed


def test_without_rows_nothing_is_foreseen() -> None:
    assert forecast([], 100, Limits()) is None
    assert forecast([Timing(0, 0.1)], 100, Limits()) is None


def test_what_every_batch_takes_is_paid_once_for_each_batch_and_not_for_each_row() -> None:
    seen = forecast([Timing(100, 0.2, 0.1)], 1_000, fixed(Limits(), 500))
    assert seen is not None
    assert (seen.batch_rows, seen.batches) == (500, 2)
    assert seen.seconds.expected == pytest.approx(1_000 * 0.001 + 2 * 0.1)
    assert (seen.seconds_per_batch, seen.rows_per_second) == pytest.approx((0.2, 500))


def test_batches_become_as_large_as_the_target_time_allows() -> None:
    seen = forecast([Timing(100, 0.2, 0.1)], 1_000_000, Limits(target_time=0.6))
    assert seen is not None
    assert seen.batch_rows == 500
    assert seen.batches == 2_000


def test_the_band_reaches_from_the_quickest_sample_to_the_slowest() -> None:
    quick, slow = Timing(100, 0.1), Timing(100, 0.3)
    seen = forecast([quick, slow], 1_000, Limits())
    assert seen is not None
    assert (seen.seconds.low, seen.seconds.expected, seen.seconds.high) == pytest.approx((1.0, 2.0, 3.0))


def test_a_single_sample_says_no_more_than_half_or_double() -> None:
    seen = forecast([Timing(100, 0.1)], 1_000, Limits())
    assert seen is not None
    assert (seen.seconds.low, seen.seconds.expected, seen.seconds.high) == pytest.approx((0.5, 1.0, 2.0))


def test_pauses_are_added() -> None:
    seen = forecast([Timing(100, 0.1), Timing(100, 0.1)], 1_000, fixed(Limits(), 100), pause=1.0)
    assert seen is not None
    assert seen.seconds.expected == pytest.approx(11.0)
