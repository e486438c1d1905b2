"""A row as a compute function sees it."""

from collections import namedtuple
from collections.abc import Sequence
from functools import cache
from typing import Any

from datamigrate.authoring.forms import ComputeRows


class Row(tuple[Any, ...]):
    """A row as a compute function sees it: an attribute, and an item, for each column that it reads."""

    __slots__ = ()
    _columns: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        if name in self._columns:  # no Python name
            return self[name]
        raise AttributeError(f"row has no {name!r}; `reads` names {', '.join(self._columns)}")

    def __getitem__(self, which: Any) -> Any:
        if not isinstance(which, str):
            return tuple.__getitem__(self, which)
        if which not in self._columns:
            raise KeyError(which)
        return tuple.__getitem__(self, self._columns.index(which))

    def __repr__(self) -> str:
        return f"Row({', '.join(self._columns)})"


@cache
def row_type(form: ComputeRows) -> type[Row]:
    """The class of the rows that this form's function is given; made of a sequence of the values read."""
    columns = tuple(column.name for column in form.reads)
    # the attributes of a named tuple are read without any Python code in between
    fields = namedtuple("Row", columns, rename=True)  # type: ignore[misc] # names known at run time only
    return type("Row", (Row, fields), {"__slots__": (), "_columns": columns})


def rows_from(form: ComputeRows, values: Sequence[Sequence[Any]], start: int = 0) -> list[Row]:
    """Rows with the columns that the form reads, from their values in the same order, which begin at `start`."""
    kind = row_type(form)
    return [tuple.__new__(kind, row[start:]) for row in values]
