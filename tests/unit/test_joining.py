"""Values joined into one text on their way to PostgreSQL."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from datamigrate.database.dialects.postgresql_joining import (
    NULL,
    SEPARATOR,
    XID,
    Joining,
    NotJoined,
    joined_numbers,
    joined_texts,
    joining_of,
)


class Colour(str, Enum):  # noqa: UP042 (whose `str` is not what it is)
    RED = "r"


class Number(IntEnum):
    ONE = 1


class Shouted(sa.TypeDecorator[str]):
    """A text of which something else is made first."""

    impl = sa.Text
    cache_ok = True


def taken_apart(text: str) -> list[str | None]:
    """As `string_to_array` does it."""
    return [None if value == NULL else value for value in text.split(SEPARATOR)] if text else []


@given(st.lists(st.none() | st.text(st.sampled_from(["a", "ü", "\\", SEPARATOR, NULL]))))
def test_texts_arrive_as_they_are_or_are_not_joined(values: list[str | None]) -> None:
    try:
        text = joined_texts(values)
    except NotJoined:
        assert values in ([], [""]) or any(
            mark in (value or "") for value in values for mark in (SEPARATOR, NULL)
        )
    else:
        assert taken_apart(text) == values


@given(st.lists(st.none() | st.integers(), min_size=1))
def test_whole_numbers_arrive_as_they_are(values: list[int | None]) -> None:
    assert [None if told is None else int(told) for told in taken_apart(joined_numbers(values))] == values


def test_what_is_a_text_or_a_number_in_python_is_joined_as_that() -> None:
    assert joined_texts([Colour.RED, "x"]) == f"r{SEPARATOR}x"
    assert joined_numbers([True, Number.ONE, None]) == f"1{SEPARATOR}1{SEPARATOR}{NULL}"


@pytest.mark.parametrize(
    ("join", "values"), [(joined_texts, ["x", 1]), (joined_texts, [b"x"]), (joined_numbers, [1, 1.5, "1"])]
)
def test_what_is_neither_is_left_to_the_driver_to_judge(join: Joining, values: list[Any]) -> None:
    with pytest.raises(NotJoined):
        join(values)


@pytest.mark.parametrize(
    ("kind", "join"),
    [
        (sa.Text(), joined_texts),
        (sa.String(20), joined_texts),
        (postgresql.CITEXT(), joined_texts),
        (sa.BigInteger(), joined_numbers),
        (XID(), joined_numbers),
        (sa.Enum("a", "b"), None),
        (sa.Boolean(), None),
        (sa.Numeric(), None),
        (Shouted(), None),
        (postgresql.TSTZRANGE(), None),
        (sa.types.NullType(), None),
        (sa.BigInteger().with_variant(sa.Integer(), "sqlite"), joined_numbers),
        (sa.Integer().with_variant(Shouted(), "postgresql"), None),
        (sa.Text().with_variant(postgresql.JSONB(), "postgresql"), None),
    ],
)
def test_only_texts_and_whole_numbers_are_joined_of_which_the_driver_makes_nothing_else(
    kind: sa.types.TypeEngine[Any], join: Joining | None
) -> None:
    assert joining_of(kind) is join
