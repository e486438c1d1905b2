"""Calling a script's compute function, and checking what it returns."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import anyio
import sqlalchemy as sa
from anyio import lowlevel, to_thread

from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.row import Row, row_type, rows_from
from datamigrate.doing.elsewhere import Elsewhere, Raised, ask_elsewhere, raised_by
from datamigrate.thought.codec import show_key
from datamigrate.words.errors import BatchFailed
from datamigrate.words.migration import Key

BREATH = 200
"""Rows between two moments in which heartbeats and signals are served, if the function itself never waits."""

# what a column of this Python type takes; JSON, arrays and an author's own types are the driver's to judge
_ACCEPTED: dict[type, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    bool: (bool,),
    float: (float, int, Decimal),
    Decimal: (Decimal, int, float),
    bytes: (bytes, bytearray, memoryview),
    datetime: (datetime,),
    date: (date,),
    time_of_day: (time_of_day,),
    UUID: (UUID,),
}


KeyOf = Callable[[int], Key]
"""The key of the row at a place, for an error to name."""


@dataclass(frozen=True, eq=False)
class Computed:
    """`columns` to write, as the dialect wants them: key, version, values, a list each with a place for
    every row; the keys left alone; and in how many seconds the function gave its answers."""

    columns: tuple[list[Any], ...]
    left_alone: tuple[Key, ...]
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def asked(self) -> int:
        """How many rows the function was asked about."""
        return len(self) + len(self.left_alone)


async def compute(
    form: ComputeRows,
    key_width: int,
    version_width: int,
    raw: Sequence[Sequence[Any]],
    file: Path,
    elsewhere: Elsewhere | None = None,
) -> Computed:
    """Call the function for all rows read, or have it called `elsewhere`. Raises BatchFailed
    with the key of the row it fails on."""
    start = key_width + version_width
    values_read = [tuple(r[start:]) for r in raw]
    rows = rows_from(form, values_read)
    if not rows:
        return Computed(tuple([] for _ in range(start + len(form.writes))), ())
    began = time.perf_counter()
    if elsewhere is not None:
        answers = await ask_elsewhere(elsewhere, values_read)
        if answers.raised:
            key = None if form.takes_batch else tuple(raw[len(answers.results)][:key_width])
            raise _failure(form, answers.raised, key)
        results = _one_each(answers.results, rows) if form.takes_batch else answers.results
    elif form.takes_batch:
        results = await _whole_batch(form, rows, file)
    else:
        results = await _row_by_row(form, rows, lambda i: tuple(raw[i][:key_width]), file)
    seconds = time.perf_counter() - began
    alone = [r for r, result in zip(raw, results, strict=True) if result is None]
    if alone:
        raw = [r for r, result in zip(raw, results, strict=True) if result is not None]
        results = [result for result in results if result is not None]
    values = _values(_wanted(form), results, lambda i: tuple(raw[i][:key_width]))
    return Computed(
        (*([r[i] for r in raw] for i in range(start)), *values),
        tuple(tuple(r[:key_width]) for r in alone),
        seconds,
    )


@dataclass(frozen=True)
class Called:
    """What became of an UPDATE that called the function: the rows changed, and the keys left alone."""

    rows: int
    left_alone: tuple[Key, ...]


@dataclass(eq=False)
class Caller:
    """The function as a database calls it from within an UPDATE, row by row: first to `compute`, then for
    each `value` to write. `failure` is what went wrong, which the database itself cannot tell."""

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
        checked = _Checked(_wanted(self.form))

        def compute(*arguments: Any) -> int:
            key, values = arguments[:width], arguments[width:]
            try:
                result = function(make_row(kind, convert(values) if convert else values))
                if result is None:
                    self.left_alone.append(key)
                    return 0
                if not checked.fits(result):
                    checked.check(result, key)
            except BatchFailed as error:
                self.failure = error
                raise
            except (Exception, SystemExit) as error:
                self.failure = _at_row(self.form, error, key, self.file)
                raise
            results[key] = result
            return 1

        return compute

    def value(self, number: int) -> Callable[..., Any]:
        """The function of a key that gives this one of the values to write."""
        kind, name = self.types[number], self.form.written[number]
        make, results = kind.dialect_impl(self.dialect).bind_processor(self.dialect), self._results
        take = results.pop if number == len(self.types) - 1 else results.__getitem__

        def value(*key: Any) -> Any:
            found = take(key)[name]
            return found if make is None else make(found)

        return value

    @property
    def _converter(self) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
        kinds = [column.type.dialect_impl(self.dialect) for column in self.form.reads]
        converters = [kind.result_processor(self.dialect, None) for kind in kinds]
        if not any(converters):
            return None
        return lambda values: tuple(c(v) if c else v for c, v in zip(converters, values, strict=True))


@dataclass(eq=False)
class _Checked:
    """What results have been like so far: one like these need not be looked at closely."""

    wanted: Mapping[str, tuple[type, ...]]

    def __post_init__(self) -> None:
        self._kinds: dict[str, set[type]] = {name: set() for name in self.wanted}

    def fits(self, result: Any) -> bool:
        """Whether it has the names and kinds that were found right before."""
        if type(result) is not dict or len(result) != len(self._kinds):
            return False
        try:
            return all(type(result[name]) in kinds for name, kinds in self._kinds.items())
        except KeyError:
            return False

    def check(self, result: Any, key: Key) -> None:
        """Look closely. Raises BatchFailed for a result that does not fit."""
        _values(self.wanted, (result,), lambda _: key)
        for name, kinds in self._kinds.items():
            kinds.add(type(result[name]))


async def _whole_batch(form: ComputeRows, rows: list[Row], file: Path) -> list[Any]:
    try:
        results = await _called(form.function, rows)
    except (Exception, SystemExit) as error:
        raise _at_row(form, error, None, file) from error
    return _one_each(results, rows)


def _one_each(results: Any, rows: list[Row]) -> list[Any]:
    if not isinstance(results, Sequence) or len(results) != len(rows):
        said = f"{len(results)} results" if isinstance(results, Sequence) else type(results).__name__
        raise BatchFailed(
            f"migrate(rows) was given {len(rows)} rows and returned {said}.",
            "Return a list with one mapping (or None) per row, in the same order.",
        )
    return list(results)


async def _row_by_row(form: ComputeRows, rows: list[Row], key_of: KeyOf, file: Path) -> list[Any]:
    if inspect.iscoroutinefunction(form.function):
        return await _concurrently(form, rows, key_of, file)

    given_up = Event()

    def in_turn() -> list[Any]:
        function, results = form.function, []
        try:
            for row in rows:
                if given_up.is_set():
                    break
                results.append(function(row))  # its length tells the row that failed
        except (Exception, SystemExit) as error:
            raise _at_row(form, error, key_of(len(results)), file) from error
        return results

    try:
        # in a thread, so that heartbeats and signals are served however long the function takes
        return await to_thread.run_sync(in_turn, abandon_on_cancel=True)
    finally:
        # a process ends no sooner than its threads: this one has no further row to do
        given_up.set()


async def _concurrently(form: ComputeRows, rows: list[Row], key_of: KeyOf, file: Path) -> list[Any]:
    results: list[Any] = [None] * len(rows)
    failures: list[BatchFailed] = []
    function, left = form.function, iter(range(len(rows)))

    async def one_after_another() -> None:
        # tasks that take the next row when they are through with one: a task for each row takes many times
        # as long as most functions do
        for i in left:
            if not i % BREATH:
                await lowlevel.checkpoint()
            try:
                results[i] = await function(rows[i])
            except (Exception, SystemExit) as error:
                failures.append(_at_row(form, error, key_of(i), file))
                group.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in range(min(form.options.concurrency, len(rows))):
            group.start_soon(one_after_another)
    if failures:
        raise failures[0] from failures[0].__cause__
    return results


def _wanted(form: ComputeRows) -> dict[str, tuple[type, ...]]:
    """The names that a result must have, each with the types it may be of (none: the driver judges)."""
    return {column.name: _accepted(column.type) for column in form.writes}


def _accepted(kind: sa.types.TypeEngine[Any]) -> tuple[type, ...]:
    if isinstance(kind, sa.types.TypeDecorator | sa.types.NullType | sa.Enum):
        return ()
    try:
        return _ACCEPTED.get(kind.python_type, ())
    except NotImplementedError:
        return ()


def _values(wanted: Mapping[str, tuple[type, ...]], results: Sequence[Any], key_of: KeyOf) -> list[list[Any]]:
    """The results column by column. Raises BatchFailed for one that does not fit."""
    for i, result in enumerate(results):
        if type(result) is not dict and not isinstance(result, Mapping):
            raise BatchFailed(
                f"Row {show_key(key_of(i))}: migrate() returned {type(result).__name__}, not a mapping.",
                f'Return {{"{next(iter(wanted))}": value}}, or None to leave the row alone.',
                key_of(i),
            )
        if result.keys() != wanted.keys():
            raise _wrong_columns(wanted, key_of(i), set(map(str, result)))
    columns = []
    for name, accepted in wanted.items():
        column = [result[name] for result in results]
        # the kinds that there are, at the speed of C; a look at each row only when one of them is wrong
        if accepted and not all(_fits(kind, accepted) for kind in set(map(type, column))):
            i, kind = next((i, type(v)) for i, v in enumerate(column) if not _fits(type(v), accepted))
            raise BatchFailed(
                f"Row {show_key(key_of(i))}: migrate() returned {kind.__name__} for {name}, "
                f"which takes {accepted[0].__name__}.",
                "Convert it in the script.",
                key_of(i),
            )
        columns.append(column)
    return columns


def _fits(kind: type, accepted: tuple[type, ...]) -> bool:
    return kind is type(None) or issubclass(kind, accepted)


def _wrong_columns(wanted: Mapping[str, tuple[type, ...]], key: Key, returned: set[str]) -> BatchFailed:
    if unknown := sorted(returned - wanted.keys()):
        said = f"returned {', '.join(unknown)}, which `writes` does not name"
    else:
        said = f"did not return {', '.join(sorted(wanted.keys() - returned))}, which `writes` names"
    return BatchFailed(f"Row {show_key(key)}: migrate() {said}.", f"`writes` names {', '.join(wanted)}.", key)


async def _called(function: Callable[[Any], Any], rows: list[Row]) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(rows)
    return await to_thread.run_sync(function, rows, abandon_on_cancel=True)


def _at_row(form: ComputeRows, error: BaseException, key: Key | None, file: Path) -> BatchFailed:
    failure = _failure(form, raised_by(error, file), key)
    failure.__cause__ = error
    return failure


def _failure(form: ComputeRows, raised: Raised, key: Key | None) -> BatchFailed:
    row = f"Row {show_key(key)}: " if key is not None else ""
    where = f" at {raised.line}" if raised.line else ""
    # an exception's text often quotes the value it met
    said = "" if form.options.mask or not raised.said else f": {raised.said}"
    return BatchFailed(
        f"{row}migrate() raised {raised.kind}{said}{where}", "Mend the script or this row.", key
    )
