"""The row that fails is found by halving."""

from __future__ import annotations

import pytest

from datamigrate.doing.narrowing import failing_row
from datamigrate.words.errors import BatchFailed
from datamigrate.words.migration import Bounds, Key

pytestmark = pytest.mark.anyio


class Slices:
    """Rows 1 to 200, of which some fail, or some together; counts what was tried."""

    def __init__(self, failing: set[int], together: bool = False, named: bool = False) -> None:
        self.failing, self.together, self.named = failing, together, named
        self.rows, self.times = 0, 0

    async def attempt(self, bounds: Bounds) -> Exception | None:
        inside = set(range(bounds.lower[0] + 1 if bounds.lower else 1, bounds.upper[0] + 1))
        self.rows, self.times = self.rows + len(inside), self.times + 1
        failed = inside & self.failing
        if not failed or (self.together and failed != self.failing):
            return None
        return BatchFailed("", "", (min(failed),)) if self.named else ValueError(str(min(self.failing)))


KEYS: list[Key] = [(i,) for i in range(1, 201)]


@pytest.mark.parametrize("row", [1, 2, 99, 100, 101, 199, 200])
async def test_the_one_row_that_fails_is_found_while_each_is_tried_about_once(row: int) -> None:
    slices = Slices({row})
    found = await failing_row(slices.attempt, None, KEYS)
    assert found is not None
    assert found[0] == (row,)
    assert slices.rows <= 201
    assert slices.times <= 9


async def test_of_several_the_first_is_found() -> None:
    found = await failing_row(Slices({77, 78, 150}).attempt, None, KEYS)
    assert found is not None
    assert found[0] == (77,)


async def test_a_row_that_the_error_names_is_tried_after_those_before_it_and_needs_no_halving() -> None:
    slices = Slices({77}, named=True)
    met = BatchFailed("", "", (77,))
    found = await failing_row(slices.attempt, None, KEYS, met)
    assert found is not None
    assert found[0] == (77,)
    assert (slices.times, slices.rows) == (2, 77)


async def test_a_row_before_the_one_that_was_named_first_is_found_before_it() -> None:
    slices = Slices({12, 77, 150}, named=True)
    found = await failing_row(slices.attempt, None, KEYS, BatchFailed("", "", (150,)))
    assert found is not None
    assert found[0] == (12,)
    assert slices.times == 3


async def test_rows_that_fail_only_together_have_no_one_to_blame() -> None:
    assert await failing_row(Slices({3, 190}, together=True).attempt, None, KEYS) is None


async def test_without_rows_there_is_none() -> None:
    assert await failing_row(Slices({1}).attempt, None, []) is None
