"""A row as a compute function sees it."""

from collections.abc import Mapping, Sequence
from typing import Any

from datamigrate.authoring.forms import ComputeRows


class Row:
    """A row as a compute function sees it: an attribute for each column that it reads."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: Mapping[str, int], values: Sequence[Any]) -> None:
        self._names = names
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[self._names[name]]
        except KeyError:
            declared = ", ".join(self._names)
            raise AttributeError(f"row has no {name!r}; `reads` names {declared}") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[self._names[name]]

    def __repr__(self) -> str:
        return f"Row({', '.join(self._names)})"


def rows_from(form: ComputeRows, values: Sequence[Sequence[Any]]) -> list[Row]:
    """Rows with the columns that the form reads, from their values in the same order."""
    names = {column.name: i for i, column in enumerate(form.reads)}
    return [Row(names, row) for row in values]
