"""What a compute function is given of a row."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from datamigrate import compute_rows
from datamigrate.authoring.row import Row, rows_from

STRANGE = (
    "_1",
    "first name",
    "_0",
    "class",
    "_columns",
    "_fields",
    "_replace",
    "count",
    "index",
    "place_0",
    "naïve",
    "id",
    "__columns__",
    "__len__",
)


def leave(row: Row) -> None:
    """Nothing."""


def row_of(*names: str) -> Row:
    """A row that holds its columns' names."""
    table = sa.table("strange", *map(sa.column, names), sa.column("new"))
    reads = [table.c[name] for name in names]
    form = compute_rows(table, pending=table.c.new.is_(None), reads=reads, writes=[table.c.new])(leave)
    (row,) = rows_from(form, [("key", *names)], start=1)
    return row


@pytest.mark.parametrize("name", STRANGE)
def test_a_column_is_an_item_by_its_own_name(name: str) -> None:
    row = row_of(*STRANGE)
    assert row[name] == row[STRANGE.index(name)] == name


@pytest.mark.parametrize("name", [name for name in STRANGE if not name.startswith("__")])
def test_a_column_is_an_attribute_by_its_own_name_whatever_others_are_called(name: str) -> None:
    assert getattr(row_of(*STRANGE), name) == name


def test_what_python_has_for_itself_stays() -> None:
    row = row_of(*STRANGE)
    assert len(row) == len(STRANGE)
    assert repr(row) == f"Row({', '.join(STRANGE)})"


@pytest.mark.parametrize("name", ["_0", "_columns", "_fields", "_asdict", "place_0", "idd"])
def test_what_is_not_read_is_no_attribute(name: str) -> None:
    with pytest.raises(AttributeError, match=f"row has no '{name}'; `reads` names id, first name"):
        getattr(row_of("id", "first name"), name)
    with pytest.raises(KeyError):
        row_of("id", "first name")[name]
