"""Rate, share and time to go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.progress import Progress, after_batch


def test_without_an_estimate_nobody_knows_share_and_time_to_go() -> None:
    progress = Progress(done=10, rate=5.0)
    assert (progress.total, progress.share, progress.eta) == (None, None, None)


def test_share_and_time_to_go_follow_from_the_estimate() -> None:
    progress = Progress(done=250, estimate=1000, rate=50.0)
    assert (progress.total, progress.share, progress.eta) == (1000, 0.25, 15.0)


def test_an_estimate_that_was_too_small_grows_with_what_is_done() -> None:
    progress = Progress(done=1200, estimate=1000, rate=50.0)
    assert (progress.total, progress.share, progress.eta) == (1200, 1.0, 0.0)


def test_of_nothing_to_do_there_is_no_share() -> None:
    assert Progress(done=0, estimate=0).share is None


def test_before_the_first_batch_nobody_knows_the_time_to_go() -> None:
    assert Progress(done=0, estimate=1000).eta is None


def test_the_first_batch_sets_the_rate() -> None:
    assert after_batch(Progress(0, 1000), rows=100, seconds=2.0) == Progress(100, 1000, 50.0, 2.0)


def test_later_batches_move_the_rate_a_little() -> None:
    later = after_batch(Progress(100, 1000, 50.0, span=9.0), rows=100, seconds=1.0)
    assert 50 < later.rate < 60


def test_a_batch_that_took_no_time_leaves_the_rate_alone() -> None:
    assert after_batch(Progress(100, None, 50.0), rows=100, seconds=0.0).rate == 50.0


def test_a_steady_pace_is_a_steady_rate() -> None:
    progress = Progress(0, 10_000)
    for _ in range(20):
        progress = after_batch(progress, rows=100, seconds=0.5)
    assert progress.rate == pytest.approx(200.0)
    assert progress.eta == pytest.approx((10_000 - 2_000) / 200)


def test_a_new_pace_is_believed_after_some_batches() -> None:
    progress = Progress(0, None, rate=1000.0, span=10.0)
    for _ in range(90):
        progress = after_batch(progress, rows=10, seconds=1.0)
    assert progress.rate == pytest.approx(10.0, rel=0.1)


def test_batches_of_two_workers_that_end_at_the_same_moment_are_one_pace() -> None:
    progress = Progress(0, 10_000)
    for _ in range(20):
        progress = after_batch(progress, rows=100, seconds=1.0)
        progress = after_batch(progress, rows=100, seconds=0.0)
    assert progress.rate == pytest.approx(200.0)


@given(
    st.integers(0, 10**9) | st.none(),
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1e4)), max_size=30),
)
def test_whatever_happens_the_numbers_make_sense(
    estimate: int | None, batches: list[tuple[int, float]]
) -> None:
    progress = Progress(0, estimate)
    for rows, seconds in batches:
        progress = after_batch(progress, rows, seconds)
        assert progress.rate >= 0
        assert progress.share is None or 0 <= progress.share <= 1
        assert progress.eta is None or progress.eta >= 0
    assert progress.done == sum(rows for rows, _ in batches)
