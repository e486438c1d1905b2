"""Where the next slice ends, as far as that can be reckoned."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from datamigrate.doing.choosing import Slice, listed, reckoned
from datamigrate.thought.pacing import Pace
from datamigrate.words.migration import Bounds, Key

KEYS = (("a", 1), ("a", 7), ("b", 2), ("c", 1))
NUMBERED = Pace(10, 10, numbered=True)


def test_where_keys_are_numbered_a_slice_has_as_many_numbers_as_the_span() -> None:
    assert reckoned(Bounds((-3,), (100,)), NUMBERED) == Slice(Bounds((-3,), (7,)), is_last=False)


@pytest.mark.parametrize("upper", [7, -2])
def test_the_last_one_ends_where_the_walk_does(upper: int) -> None:
    assert reckoned(Bounds((-3,), (upper,)), NUMBERED) == Slice(Bounds((-3,), (upper,)), is_last=True)


@pytest.mark.parametrize("lower", [-(2**63), 2**63 - 12])
def test_no_slice_ends_behind_the_walk(lower: int) -> None:
    slice_ = reckoned(Bounds((lower,), (2**63 - 1,)), NUMBERED)
    assert slice_ == Slice(Bounds((lower,), (lower + 10,)), is_last=False)


def test_it_has_to_be_looked_for_where_keys_are_not_numbered() -> None:
    assert reckoned(Bounds((1,), (100,)), Pace(10, 10)) is None


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        (None, (100,)),
        (None, (1, 100)),
        ((1, 2), (1, 100)),
        ((1,), ("a",)),
        ((1.0,), (100,)),
        ((Decimal(1),), (Decimal(100),)),
        ((False,), (True,)),
        ((dt.date(2026, 1, 1),), (dt.date(2026, 2, 1),)),
    ],
)
def test_it_has_to_be_looked_for_between_keys_that_are_no_whole_numbers(
    lower: Key | None, upper: Key
) -> None:
    bounds = Bounds(lower, upper)
    assert bounds.numbers is None
    assert reckoned(bounds, NUMBERED) is None


@pytest.mark.parametrize(
    ("lower", "upper", "rows", "end", "is_last"),
    [
        (None, KEYS[3], 2, KEYS[1], False),
        (KEYS[1], KEYS[3], 2, KEYS[3], True),
        (KEYS[1], KEYS[3], 10**9, KEYS[3], True),
        (None, KEYS[1], 10**9, KEYS[1], True),
        (KEYS[0], KEYS[2], 1, KEYS[1], False),
    ],
)
def test_a_slice_has_the_next_keys_of_a_list(
    lower: Key | None, upper: Key, rows: int, end: Key, is_last: bool
) -> None:
    assert listed(KEYS, Bounds(lower, upper), Pace(rows, rows)) == Slice(Bounds(lower, end), is_last)


@pytest.mark.parametrize(("lower", "upper"), [(("a", 2), KEYS[3]), (KEYS[0], ("b", 7)), (None, ("d", 1))])
def test_what_does_not_lie_between_two_keys_of_a_list_has_to_be_looked_for(
    lower: Key | None, upper: Key
) -> None:
    assert listed(KEYS, Bounds(lower, upper), NUMBERED) is None
