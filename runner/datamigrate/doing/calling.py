"""A compute function as a database calls it from within a statement, which takes no more of an error than that there
was one."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import sqlalchemy as sa

from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.row import row_type
from datamigrate.doing.fitting import fits, wanted_by

LONGEST = 1.0
"""Seconds that an UPDATE may call the function, and keep everybody else from writing. A call that has begun is waited
for: Python cannot end it."""

TAKEN_AS_THEY_ARE = (int, float, str, bytes, bool, type(None))
"""What a function of SQLite's may return, and means the same as a parameter of this type."""


class NotInside(Exception):
    """What has to be done from outside: the function is not quick any more, leaves a row alone, or returns what does
    not fit, or what the driver would convert."""


Asked = Callable[..., Any]
"""By the database: of a row's key, and what is read of it."""


@dataclass(eq=False)
class Caller:
    """The function as a database calls it from within an UPDATE, for each value that it writes to a row: with what is read
    of the row, behind the row's key where there are several values to write. It is in the context of the task that has made
    this, as everywhere else."""

    form: ComputeRows
    types: tuple[sa.types.TypeEngine[Any], ...]
    width: int
    dialect: sa.Dialect
    _context: Context = field(default_factory=copy_context, init=False)
    _late: list[bool] = field(default_factory=list, init=False)
    _last: list[Any] = field(default_factory=list, init=False)

    @cached_property
    def functions(self) -> Mapping[str, Asked]:
        """What the database is lent: `datamigrate_value_0` and so on."""
        ask = self._ask(0) if len(self.types) == 1 else self._once_a_row(self._ask(self.width))
        values = (self._value(i, ask) for i in range(len(self.types)))
        return {f"datamigrate_value_{i}": partial(self._context.run, value) for i, value in enumerate(values)}

    @property
    def is_overdue(self) -> bool:
        """Whether a call that should have ended has not."""
        return bool(self._late)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around one UPDATE, of which nothing is kept for the next one."""
        timer = asyncio.get_running_loop().call_later(LONGEST, self._late.append, True)
        try:
            yield
        finally:
            timer.cancel()
            self._late.clear()
            self._last.clear()

    def _ask(self, width: int) -> Asked:
        function, kind, convert = self.form.function, row_type(self.form), self._converter
        columns, late, make_row = len(self.types), self._late, tuple.__new__

        def ask(*values: Any) -> dict[str, Any]:
            values = values[width:]
            result = function(make_row(kind, convert(values) if convert else values))
            if type(result) is not dict or len(result) != columns or late:
                raise NotInside
            return result

        return ask

    def _once_a_row(self, ask: Asked) -> Asked:
        """A row's values are asked for one after another."""
        last = self._last

        def ask_once(*arguments: Any) -> Any:
            if not last or last[0] != arguments:
                last[:] = arguments, ask(*arguments)
            return last[1]

        return ask_once

    def _value(self, number: int, ask: Asked) -> Asked:
        name, kind, known = self.form.written[number], self.types[number], set[tuple[type, type]]()
        accepted = wanted_by(self.form)[name]
        make = kind.dialect_impl(self.dialect).bind_processor(self.dialect)

        def value(*arguments: Any) -> Any:
            value = ask(*arguments)[name]
            made = make(value) if make else value
            types = type(value), type(made)
            if types not in known:
                if (accepted and not fits(types[0], accepted)) or not _is_taken_as_it_is(types[1]):
                    raise NotInside
                known.add(types)
            return made

        return value

    @property
    def _converter(self) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
        kinds = [column.type.dialect_impl(self.dialect) for column in self.form.reads]
        converters = [kind.result_processor(self.dialect, None) for kind in kinds]
        if not any(converters):
            return None
        return lambda values: tuple(c(v) if c else v for c, v in zip(converters, values, strict=True))


def _is_taken_as_it_is(kind: type) -> bool:
    """Whether the driver makes nothing else of a parameter: adapters are no business of what a function returns."""
    return kind in TAKEN_AS_THEY_ARE and (kind, sqlite3.PrepareProtocol) not in sqlite3.adapters
