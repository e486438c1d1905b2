"""A row as a compute function sees it."""

from collections import namedtuple
from collections.abc import Sequence
from functools import cache
from typing import Any

from datamigrate.authoring.forms import ComputeRows


class Row(tuple[Any, ...]):
    """A row as a compute function sees it: an attribute, and an item, for each column that it reads."""

    __slots__ = ()
    __columns__: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        if name in self.__columns__:  # named like what Python has for itself
            return self[name]
        raise AttributeError(f"row has no {name!r}; `reads` names {', '.join(self.__columns__)}")

    def __getitem__(self, which: Any) -> Any:
        if not isinstance(which, str):
            return tuple.__getitem__(self, which)
        if which not in self.__columns__:
            raise KeyError(which)
        return tuple.__getitem__(self, self.__columns__.index(which))

    def __repr__(self) -> str:
        return f"Row({', '.join(self.__columns__)})"


@cache
def row_type(form: ComputeRows) -> type[Row]:
    """The class of the rows that this form's function is given; made of a sequence of the values read."""
    columns = tuple(column.name for column in form.reads)
    # the attributes of a named tuple are read without any Python code in between; its own names would be in the way
    places = namedtuple("places", [f"place_{i}" for i in range(len(columns))])  # type: ignore[misc] # known at run time
    named = {name: getattr(places, f"place_{i}") for i, name in enumerate(columns) if not _is_pythons(name)}
    return type("Row", (Row,), {**named, "__slots__": (), "__columns__": columns})


def _is_pythons(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def rows_from(form: ComputeRows, values: Sequence[Sequence[Any]], start: int = 0) -> list[Row]:
    """Rows with the columns that the form reads, from their values in the same order, which begin at `start`."""
    kind = row_type(form)
    return [tuple.__new__(kind, row[start:]) for row in values]
