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

from datamigrate.authoring.bare import LEFT, Bare, bare_function
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
        values = [self._only_value()] if len(self.types) == 1 else self._values()
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

    def _only_value(self) -> Asked:
        """All in one function: one more that is called in between takes a twentieth of a run, and a row with its
        mapping a tenth."""
        if bare := bare_function(self.form):
            return self._value_of_bare(bare)
        function, kind, convert, late = self.form.function, row_type(self.form), self._converter, self._late
        (name,), make_row = self.form.written, tuple.__new__
        finish, plain = self._finish(0)

        def value(*values: Any) -> Any:
            result = function(make_row(kind, convert(values) if convert else values))
            if type(result) is not dict or len(result) != 1 or late:
                raise NotInside
            value = result[name]
            return value if type(value) in plain else finish(value)

        return value

    def _value_of_bare(self, bare: Bare) -> Asked:
        convert, late, (finish, plain) = self._converter, self._late, self._finish(0)

        def value(*values: Any) -> Any:
            value = bare(*(convert(values) if convert else values))
            if late or value is LEFT:
                raise NotInside
            return value if type(value) in plain else finish(value)

        return value

    def _values(self) -> list[Asked]:
        """A row's values are asked for one after another; the function is called for the first of them."""
        function, kind, convert, late = self.form.function, row_type(self.form), self._converter, self._late
        width, columns, last, make_row = self.width, len(self.types), self._last, tuple.__new__

        def ask(*arguments: Any) -> Any:
            if not last or last[0] != arguments:
                values = arguments[width:]
                result = function(make_row(kind, convert(values) if convert else values))
                if type(result) is not dict or len(result) != columns or late:
                    raise NotInside
                last[:] = arguments, result
            return last[1]

        return [self._value(i, ask) for i in range(columns)]

    def _value(self, number: int, ask: Asked) -> Asked:
        name, (finish, plain) = self.form.written[number], self._finish(number)

        def value(*arguments: Any) -> Any:
            value = ask(*arguments)[name]
            return value if type(value) in plain else finish(value)

        return value

    def _finish(self, number: int) -> tuple[Callable[[Any], Any], set[type]]:
        """Makes of a value that the function has returned for a column what the database is given, and which types' values
        that are already, as far as is known by then. Raises NotInside."""
        accepted, kind = wanted_by(self.form)[self.form.written[number]], self.types[number]
        make = kind.dialect_impl(self.dialect).bind_processor(self.dialect)
        plain, known = set[type](), set[tuple[type, type]]()

        def finish(value: Any) -> Any:
            made = make(value) if make else value
            types = type(value), type(made)
            if types not in known:
                if (accepted and not fits(types[0], accepted)) or not _is_taken_as_it_is(types[1]):
                    raise NotInside
                known.add(types)
                if not make:
                    plain.add(types[0])
            return made

        return finish, plain

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
