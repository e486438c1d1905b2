"""The closed loop of batch sizes, played through with tables and databases made of arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.pacing import (
    Batch,
    Limits,
    Pace,
    after_timeout,
    alike,
    first_pace,
    fitted,
    fixed,
    is_smallest,
    next_pace,
)

TARGET = 0.5
LIMITS = Limits(target_time=TARGET)
FIRST = first_pace(500)


@dataclass
class Simulation:
    """A table of which every `1/density`-th row is pending, on a database with these costs in seconds. One that
    chooses `ahead` has chosen a batch before the one in front of it has ended."""

    per_row: float
    per_key: float = 0.0
    density: float = 1.0
    overhead: float = 0.0
    limits: Limits = LIMITS
    pace: Pace = FIRST
    ahead: bool = False
    last: Batch | None = None
    chosen: Pace | None = None

    def batch(self) -> tuple[int, float]:
        """Rows and seconds of one batch; afterwards the pace has changed."""
        is_too_large = self.chosen is None or self.chosen.rows > 2 * self.pace.rows
        pace = self.pace if self.chosen is None or is_too_large else self.chosen
        if self.ahead:
            self.chosen = next_pace(alike(self.last, pace), self.limits) if self.last else self.pace
        found = int(pace.span * self.density)
        rows = min(found, pace.rows)
        # the span's end is looked for even where the rows end the batch first
        seconds = self.overhead + rows * self.per_row + pace.span * self.per_key
        self.last = Batch(pace, seconds, rows)
        self.pace = next_pace(self.last, self.limits)
        return rows, seconds

    def batches(self, count: int) -> list[tuple[int, float]]:
        return [self.batch() for _ in range(count)]


def ideal(simulation: Simulation) -> float:
    """The rows that fit into the target time, within the limits."""
    fitting = (TARGET - simulation.overhead) / simulation.per_row
    return min(max(fitting, simulation.limits.min_rows), simulation.limits.most)


COSTS = [1e-7, 1e-6, 5e-6, 2e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 3.0]


either_way = pytest.mark.parametrize("ahead", [False, True], ids=["in turn", "ahead"])


@either_way
@pytest.mark.parametrize("per_row", COSTS)
@pytest.mark.parametrize("overhead", [0.0, 0.02])
def test_within_ten_batches_the_size_fits_the_target(per_row: float, overhead: float, ahead: bool) -> None:
    simulation = Simulation(per_row, overhead=overhead, ahead=ahead)
    simulation.batches(10)
    rows, _ = simulation.batch()
    assert rows == pytest.approx(ideal(simulation), rel=0.15, abs=1)


@given(st.floats(1e-6, 1.0))
def test_any_cost_of_a_row_is_met_sooner_or_later(per_row: float) -> None:
    simulation = Simulation(per_row)
    simulation.batches(30)
    assert simulation.pace.rows == pytest.approx(ideal(simulation), rel=0.05, abs=1)


@either_way
@pytest.mark.parametrize("per_row", COSTS)
def test_a_size_that_fits_is_kept(per_row: float, ahead: bool) -> None:
    simulation = Simulation(per_row, ahead=ahead)
    simulation.batches(20)
    sizes = [rows for rows, _ in simulation.batches(20)]
    assert max(sizes) - min(sizes) <= max(1, 0.02 * max(sizes))


@either_way
@pytest.mark.parametrize("per_row", COSTS)
def test_the_way_to_the_target_does_not_swing(per_row: float, ahead: bool) -> None:
    sizes = [rows for rows, _ in Simulation(per_row, ahead=ahead).batches(20)]
    steps = [after - before for before, after in pairwise(sizes) if after != before]
    assert all(step > 0 for step in steps) or all(step < 0 for step in steps)


def test_one_slow_batch_does_not_make_the_size_swing() -> None:
    simulation = Simulation(1e-4)
    simulation.batches(15)
    settled = simulation.pace.rows
    simulation.pace = next_pace(Batch(simulation.pace, 2 * TARGET, simulation.pace.rows), LIMITS)
    assert settled / 2 < simulation.pace.rows < settled
    assert max(rows for rows, _ in simulation.batches(10)) <= settled


@either_way
def test_a_tenfold_slow_down_is_answered_within_four_batches(ahead: bool) -> None:
    simulation = Simulation(1e-4, ahead=ahead)
    simulation.batches(15)
    simulation.per_row *= 10
    simulation.batches(4)
    _, seconds = simulation.batch()
    assert seconds < 1.2 * TARGET


@either_way
def test_after_a_slow_down_has_passed_the_size_comes_back(ahead: bool) -> None:
    simulation = Simulation(1e-4, ahead=ahead)
    simulation.batches(15)
    before = simulation.pace.rows
    simulation.per_row *= 10
    simulation.batches(10)
    simulation.per_row /= 10
    simulation.batches(10)
    assert simulation.pace.rows == pytest.approx(before, rel=0.1)


def test_no_step_up_is_larger_than_twofold_and_no_step_down_larger_than_fourfold() -> None:
    assert next_pace(Batch(Pace(1000, 4000), 0.0, 1000), LIMITS).rows == 2000
    assert next_pace(Batch(Pace(1000, 4000), 3600.0, 1000), LIMITS).rows == 250


def test_a_clock_that_goes_backwards_is_a_quick_batch() -> None:
    assert next_pace(Batch(Pace(1000, 4000), -1.0, 1000), LIMITS).rows == 2000


# sparse and dense stretches


@either_way
def test_where_pending_rows_are_sparse_the_span_grows_to_the_target(ahead: bool) -> None:
    simulation = Simulation(1e-4, per_key=4e-7, density=1e-5, ahead=ahead)
    simulation.batches(15)
    _, seconds = simulation.batch()
    assert simulation.pace.span > 1_000_000
    assert seconds == pytest.approx(TARGET, rel=0.1)


def test_the_span_stays_within_its_limit() -> None:
    simulation = Simulation(1e-4, per_key=1e-9, density=0.0)
    simulation.batches(20)
    assert simulation.pace.span == LIMITS.max_span


def test_a_dense_stretch_after_a_sparse_one_has_no_overlong_batch() -> None:
    simulation = Simulation(1e-4, per_key=4e-7)
    simulation.batches(15)
    simulation.density = 1e-5
    simulation.batches(20)
    simulation.density = 1.0
    assert max(seconds for _, seconds in simulation.batches(15)) < 2.2 * TARGET


def test_alternating_stretches_have_no_overlong_batch_once_the_size_has_settled() -> None:
    simulation = Simulation(1e-4, per_key=4e-7)
    simulation.batches(15)
    for density in (1e-5, 1.0, 1e-3, 0.1, 0.0, 1.0):
        simulation.density = density
        assert max(seconds for _, seconds in simulation.batches(12)) < 2.2 * TARGET


def test_full_batches_bring_a_wide_span_back_to_the_rows() -> None:
    pace = Pace(500, 2_000_000)
    for _ in range(40):
        pace = next_pace(Batch(pace, TARGET, 500), LIMITS)
    assert pace == Pace(500, 500)


def test_where_nearly_every_row_is_pending_the_span_is_the_rows_and_nothing_is_counted() -> None:
    simulation = Simulation(1e-4, density=0.9)
    assert all(pace.span == pace.rows for pace in paces_of(simulation, 20))


@pytest.mark.parametrize(
    ("numbers", "numbered"), [(499, False), (500, True), (555, True), (556, False), (None, False)]
)
def test_keys_are_numbered_when_nearly_every_number_was_one(numbers: int | None, numbered: bool) -> None:
    pace = next_pace(Batch(Pace(500, 500), TARGET, 500, numbers), LIMITS)
    assert pace == Pace(500, 500, numbered)


def test_keys_are_numbered_for_a_batch_that_is_chosen_ahead_too() -> None:
    last = Batch(Pace(500, 500), TARGET, 500, 500)
    assert next_pace(alike(last, Pace(1000, 1000)), LIMITS).numbered


def test_a_gap_has_the_end_of_a_slice_looked_for_again() -> None:
    pace = Pace(500, 500, numbered=True)
    assert next_pace(Batch(pace, TARGET, 0, 500), LIMITS) == Pace(500, 500)
    assert next_pace(Batch(pace, TARGET, 300, 500), LIMITS) == Pace(500, 500)


def test_a_span_that_is_wider_than_the_rows_is_never_one_of_numbers() -> None:
    assert not next_pace(Batch(Pace(500, 4000), TARGET, 4000, 4000), LIMITS).numbered


def test_limits_that_are_new_change_nothing_about_the_keys() -> None:
    assert fitted(Pace(500, 500, numbered=True), fixed(LIMITS, 10)) == Pace(10, 10, numbered=True)


def paces_of(simulation: Simulation, batches: int) -> Iterator[Pace]:
    for _ in range(batches):
        simulation.batch()
        yield simulation.pace


def test_one_full_batch_does_not_forget_a_wide_span_at_once() -> None:
    assert next_pace(Batch(Pace(500, 2_000_000), TARGET, 500), LIMITS).span == 1_000_000


def test_a_sparse_batch_that_was_quick_leaves_the_rows_alone() -> None:
    assert next_pace(Batch(Pace(500, 2000), 0.01, 0), LIMITS) == Pace(500, 4000)


def test_a_span_grows_no_wider_than_the_rows_found_in_it_call_for() -> None:
    assert next_pace(Batch(Pace(500, 2000), 0.01, 400), LIMITS) == Pace(500, 3125)


def test_a_sparse_batch_that_was_slow_takes_both_back() -> None:
    assert next_pace(Batch(Pace(500, 2000), 10.0, 0), LIMITS) == Pace(125, 500)


@pytest.mark.parametrize("density", [0.5, 0.2, 0.1, 0.03])
def test_a_predicate_that_selects_some_rows_is_met_as_well(density: float) -> None:
    simulation = Simulation(1e-4, per_key=2e-7, density=density)
    simulation.batches(25)
    times = [seconds for _, seconds in simulation.batches(20)]
    assert sum(times) / len(times) > TARGET / 2
    assert max(times) < 1.2 * TARGET


# timeouts


def test_a_timeout_halves_the_batch_at_once() -> None:
    assert after_timeout(Pace(1000, 4000), LIMITS) == Pace(500, 2000)


def test_a_timeout_halves_a_fixed_batch_too() -> None:
    assert after_timeout(Pace(1000, 4000), fixed(LIMITS, 1000)).rows == 500


def test_timeouts_lead_to_the_smallest_batch_and_no_further() -> None:
    pace = FIRST
    seen = list(halved(pace))
    assert seen[-1] == Pace(1, 1)
    assert len(seen) <= 12
    assert after_timeout(Pace(1, 1), LIMITS) == Pace(1, 1)


def halved(pace: Pace) -> Iterator[Pace]:
    while not is_smallest(pace):
        pace = after_timeout(pace, LIMITS)
        yield pace


def test_a_single_row_out_of_many_keys_can_still_be_halved() -> None:
    assert not is_smallest(Pace(1, 1000))
    assert after_timeout(Pace(1, 1000), LIMITS) == Pace(1, 500)


# limits


@pytest.mark.parametrize("per_row", COSTS)
@pytest.mark.parametrize("density", [1.0, 0.1])
def test_a_fixed_batch_size_stays_fixed(per_row: float, density: float) -> None:
    simulation = Simulation(per_row, density=density, limits=fixed(LIMITS, 700), pace=first_pace(700))
    for _ in range(15):
        simulation.batch()
        assert simulation.pace.rows == 700


def test_a_fixed_batch_size_is_found_in_full_however_sparse_its_rows_are() -> None:
    simulation = Simulation(1e-6, density=0.01, limits=fixed(LIMITS, 100), pace=first_pace(100))
    assert max(rows for rows, _ in simulation.batches(15)) == 100


def test_a_fixed_batch_size_comes_back_after_a_timeout_if_the_clock_allows() -> None:
    limits = fixed(LIMITS, 1000)
    cut_off = after_timeout(after_timeout(Pace(1000, 1000), limits), limits)
    assert cut_off.rows == 250
    assert next_pace(Batch(cut_off, 100 * TARGET, 250), limits).rows == 250
    quick = next_pace(Batch(cut_off, TARGET / 100, 250), limits)
    assert 250 < quick.rows < 1000
    for _ in range(5):
        quick = next_pace(Batch(quick, TARGET / 100, quick.rows), limits)
    assert quick.rows == 1000


paces = st.builds(Pace, st.integers(1, 200_000), st.integers(1, 5_000_000))
limits = st.builds(
    Limits, st.floats(0.001, 60), st.just(1), st.integers(1, 100_000), st.integers(1, 2_000_000)
)


@given(paces, st.floats(-1, 1e6), st.integers(0, 200_000), limits)
def test_the_next_pace_is_whole_positive_and_within_the_limits(
    pace: Pace, seconds: float, found: int, within: Limits
) -> None:
    after = next_pace(Batch(pace, seconds, min(found, pace.rows)), within)
    assert isinstance(after.rows, int)
    assert isinstance(after.span, int)
    assert 1 <= after.span <= max(within.max_span, after.rows)
    assert 1 <= after.rows <= max(within.most, pace.rows)
