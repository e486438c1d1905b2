"""A compute function as a database calls it from within a statement."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.row import row_type
from datamigrate.doing.failing import failed_row, raised_by
from datamigrate.doing.fitting import values_of, wanted_by
from datamigrate.words.migration import Key


@dataclass(frozen=True)
class Called:
    """What became of an UPDATE that called the function: the rows changed, and the keys left alone."""

    rows: int
    left_alone: tuple[Key, ...]


@dataclass(eq=False)
class Caller:
    """The function as a database calls it from within an UPDATE, row by row: first to `compute`, then for
    each `value` to write. `failure` is what went wrong, which the database itself cannot tell; whether the results fit
    is seen in the end, at once for all."""

    form: ComputeRows
    types: tuple[sa.types.TypeEngine[Any], ...]
    width: int
    file: Path
    dialect: sa.Dialect
    left_alone: list[Key] = field(default_factory=list)
    failure: Exception | None = None
    _results: dict[Key, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def compute(self) -> Callable[..., int]:
        """The function of a row's key and what is read of it: 1 when it is to be written, 0 when it is left
        alone."""
        function, results, width = self.form.function, self._results, self.width
        kind, make_row, convert = row_type(self.form), tuple.__new__, self._converter

        def compute(*arguments: Any) -> int:
            key, values = arguments[:width], arguments[width:]
            try:
                result = function(make_row(kind, convert(values) if convert else values))
            except (Exception, SystemExit) as error:
                self.failure = failed_row(self.form, raised_by(error, self.file), key)
                raise
            if result is None:
                self.left_alone.append(key)
                return 0
            results[key] = result
            return 1

        return compute

    def value(self, number: int) -> Callable[..., Any]:
        """The function of a key that gives this one of the values to write."""
        kind, name = self.types[number], self.form.written[number]
        make, results = kind.dialect_impl(self.dialect).bind_processor(self.dialect), self._results

        def value(*key: Any) -> Any:
            found = results[key][name]
            return found if make is None else make(found)

        return value

    def check(self) -> None:
        """Raises what went wrong, or RowFailed for a result that does not fit."""
        if self.failure:
            raise self.failure
        keys = list(self._results)
        values_of(wanted_by(self.form), list(self._results.values()), keys.__getitem__)

    @property
    def _converter(self) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
        kinds = [column.type.dialect_impl(self.dialect) for column in self.form.reads]
        converters = [kind.result_processor(self.dialect, None) for kind in kinds]
        if not any(converters):
            return None
        return lambda values: tuple(c(v) if c else v for c, v in zip(converters, values, strict=True))
