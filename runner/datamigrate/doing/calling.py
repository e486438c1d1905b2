"""A compute function as a database calls it from within a statement, which takes no more of an error than that there
was one."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.row import row_type
from datamigrate.doing.fitting import values_of, wanted_by
from datamigrate.words.migration import Key

LONGEST = 1.0
"""Seconds that an UPDATE may call the function, and keep everybody else from writing."""


@dataclass(frozen=True)
class Called:
    """What became of an UPDATE that called the function: the rows changed, the keys left alone, and its seconds."""

    rows: int
    left_alone: tuple[Key, ...]
    seconds: float


class TakesLong(Exception):
    """The function is not quick any more."""


@dataclass(eq=False)
class Caller:
    """The function as a database calls it from within an UPDATE, row by row: first to compute, then for each value to
    write. Whether the results fit is seen in the end, at once for all."""

    form: ComputeRows
    types: tuple[sa.types.TypeEngine[Any], ...]
    width: int
    dialect: sa.Dialect
    _began: float = field(default=0.0, init=False)
    _left_alone: list[Key] = field(default_factory=list, init=False)
    _results: dict[Key, Mapping[str, Any]] = field(default_factory=dict, init=False)

    @cached_property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """What the database is lent: `datamigrate_compute` of a row's key and what is read of it, 1 when it is to be
        written and 0 when it is left alone; then `datamigrate_value_0` and so on of a key."""
        values = {f"datamigrate_value_{i}": self._value(i) for i in range(len(self.form.written))}
        return {"datamigrate_compute": self._compute(), **values}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around one UPDATE, of which nothing is kept for the next one."""
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._left_alone.clear()
            self._results.clear()

    def _compute(self) -> Callable[..., int]:
        function, results, width = self.form.function, self._results, self.width
        kind, make_row, convert = row_type(self.form), tuple.__new__, self._converter
        now = time.monotonic

        def compute(*arguments: Any) -> int:
            key, values = arguments[:width], arguments[width:]
            result = function(make_row(kind, convert(values) if convert else values))
            if now() - self._began > LONGEST:
                raise TakesLong
            if result is None:
                self._left_alone.append(key)
                return 0
            # a mapping of its own: the function may fill the same one again
            results[key] = {**result}
            return 1

        return compute

    def _value(self, number: int) -> Callable[..., Any]:
        kind, name = self.types[number], self.form.written[number]
        make, results = kind.dialect_impl(self.dialect).bind_processor(self.dialect), self._results

        if make is None:
            return lambda *key: results[key][name]
        return lambda *key: make(results[key][name])

    def called(self, rows: int) -> Called:
        """What became of the UPDATE that has changed so many rows. Raises RowFailed for a result that does not fit."""
        keys = list(self._results)
        values_of(wanted_by(self.form), list(self._results.values()), keys.__getitem__)
        return Called(rows, tuple(self._left_alone), time.monotonic() - self._began)

    @property
    def _converter(self) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
        kinds = [column.type.dialect_impl(self.dialect) for column in self.form.reads]
        converters = [kind.result_processor(self.dialect, None) for kind in kinds]
        if not any(converters):
            return None
        return lambda values: tuple(c(v) if c else v for c, v in zip(converters, values, strict=True))
