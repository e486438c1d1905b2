"""A slice's range is repeated in subqueries that look for what belongs to a row, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from datamigrate.database.keyset import Keyset
from datamigrate.database.narrowed import narrowed
from datamigrate.words.migration import Bounds
from unit.samples import sql

ITEM = sa.table(
    "item", sa.column("id", sa.BigInteger), sa.column("code", sa.Text), sa.column("old", sa.Integer)
)
OTHER = sa.table(
    "other", sa.column("item_id", sa.Integer), sa.column("code", sa.Text), sa.column("kind", sa.Integer)
)
THIRD = sa.table("third", sa.column("item_id", sa.Integer), sa.column("kind", sa.Integer))
ID, THEIRS = ITEM.c.id, OTHER.c.item_id
KEYSET = Keyset(ITEM, ("id",), (sa.BigInteger(),), is_strict=True)
SLICE = Bounds((10,), (20,))
RANGE = "other.item_id > $1 AND other.item_id <= $2"


def text_of(pending: Any, keyset: Keyset = KEYSET, bounds: Bounds = SLICE) -> str:
    statement = sa.select(keyset.table.c.old).where(narrowed(keyset, bounds, pending))
    return sql(statement, "postgresql").partition(" WHERE ")[2]


def is_narrowed(pending: Any, keyset: Keyset = KEYSET) -> bool:
    return (
        text_of(pending, keyset)
        != sql(sa.select(ITEM.c.old).where(pending), "postgresql").partition(" WHERE ")[2]
    )


def test_the_other_tables_column_is_within_the_slice_too() -> None:
    assert text_of(~sa.exists().where(THEIRS == ID)) == (
        f"NOT (EXISTS (SELECT * FROM other WHERE other.item_id = item.id AND {RANGE}))"
    )


def test_at_the_beginning_there_is_an_end_only() -> None:
    assert text_of(sa.exists().where(THEIRS == ID), bounds=Bounds(None, (20,))) == (
        "EXISTS (SELECT * FROM other WHERE other.item_id = item.id AND other.item_id <= $1)"
    )


COUNT = sa.select(sa.func.count()).where(THEIRS == ID, OTHER.c.kind == 1).scalar_subquery()

NARROWED = {
    "the key in front": sa.exists().where(ID == THEIRS),
    "among other terms": sa.exists().where(OTHER.c.kind == 1, THEIRS == ID),
    "in several places": sa.exists().where(THEIRS == ID) | (ITEM.c.old == 1),
    "a count": COUNT == 0,
    "a selected column": sa.exists(sa.select(OTHER.c.kind).where(THEIRS == ID)),
    "correlated by word": sa.exists(sa.select(OTHER.c.kind).where(THEIRS == ID).correlate(ITEM)),
    "the table by another name": sa.exists().where(ITEM.alias("twin").c.id == ID),
}

AS_THEY_ARE = {
    "no subquery": ITEM.c.old.is_(None),
    "another comparison": sa.exists().where(THEIRS > ID),
    "one of two": sa.exists().where((THEIRS == ID) | (OTHER.c.kind == 1)),
    "not": sa.exists().where(sa.not_(THEIRS == ID)),
    "an expression": sa.exists().where(THEIRS + 1 == ID),
    "another column of the row": sa.exists().where(OTHER.c.kind == ITEM.c.old),
    "a column of no known type": sa.exists().where(sa.table("other", sa.column("item_id")).c.item_id == ID),
    "a column of another type": sa.exists().where(
        sa.table("other", sa.column("item_id", sa.Float)).c.item_id == ID
    ),
    "the row itself": sa.exists().where(ID == ID).select_from(OTHER),
    "a literal": sa.exists().where(sa.literal_column("other.item_id", sa.Integer) == ID).select_from(OTHER),
    "the table again in the subquery": sa.exists(
        sa.select(OTHER.c.kind).select_from(OTHER, ITEM).where(THEIRS == ID)
    ),
    "a join": sa.exists(sa.select(OTHER.c.kind).join(ITEM, THEIRS == ID).where(THEIRS == ID)),
    "not correlated": sa.exists(sa.select(OTHER.c.kind).where(THEIRS == ID).correlate(None)),
    "correlated but for it": sa.exists(sa.select(OTHER.c.kind).where(THEIRS == ID).correlate_except(ITEM)),
    "a subquery of a subquery": sa.exists().where(
        OTHER.c.kind.in_(sa.select(THIRD.c.kind).where(THIRD.c.item_id == ID).correlate(ITEM))
    ),
    "IN": ID.in_(sa.select(THEIRS)),
}


@pytest.mark.parametrize("what", NARROWED)
def test_wherever_a_column_is_equated_with_the_key(what: str) -> None:
    assert is_narrowed(NARROWED[what])


@pytest.mark.parametrize("what", AS_THEY_ARE)
def test_anything_else_stays_as_it_is(what: str) -> None:
    assert not is_narrowed(AS_THEY_ARE[what])


@pytest.mark.parametrize(
    "keyset",
    [
        Keyset(ITEM, ("id",), (sa.BigInteger(),)),
        Keyset(ITEM, ("id",), (sa.Text(),), is_strict=True),
        Keyset(ITEM, ("id",), (sa.Numeric(),), is_strict=True),
        Keyset(ITEM, ("id", "old"), (sa.BigInteger(), sa.Integer()), is_strict=True),
    ],
)
def test_only_keys_that_are_whole_numbers_in_every_row_are_repeated(keyset: Keyset) -> None:
    assert not is_narrowed(sa.exists().where(THEIRS == ID), keyset)
