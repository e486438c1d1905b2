"""Calling a script's compute function, and checking what it returns."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import anyio
import sqlalchemy as sa
from anyio import to_thread

from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.row import Row, rows_from
from datamigrate.doing.failing import script_line
from datamigrate.thought.codec import show_key
from datamigrate.words.errors import BatchFailed
from datamigrate.words.migration import Key

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
    time: (time,),
    UUID: (UUID,),
}


@dataclass(frozen=True)
class Computed:
    """`rows` to write, as the dialect wants them: key, version, values; and the keys left alone."""

    rows: tuple[tuple[Any, ...], ...]
    left_alone: tuple[Key, ...]


async def compute(
    form: ComputeRows, key_width: int, version_width: int, raw: Sequence[Sequence[Any]], file: Path
) -> Computed:
    """Call the function for all rows read. Raises BatchFailed with the key of the row it fails on."""
    start = key_width + version_width
    rows = rows_from(form, [r[start:] for r in raw])
    keys = [tuple(r[:key_width]) for r in raw]
    if not rows:
        return Computed((), ())
    if form.takes_batch:
        results = await _whole_batch(form, rows, file)
    else:
        results = await _row_by_row(form, rows, keys, file)
    wanted = _wanted(form)
    written: list[tuple[Any, ...]] = []
    left_alone: list[Key] = []
    for raw_row, key, result in zip(raw, keys, results, strict=True):
        if result is None:
            left_alone.append(key)
        else:
            _check(wanted, key, result)
            written.append((*raw_row[:start], *(result[name] for name in wanted)))
    return Computed(tuple(written), tuple(left_alone))


async def _whole_batch(form: ComputeRows, rows: list[Row], file: Path) -> list[Any]:
    try:
        results = await _called(form.function, rows)
    except (Exception, SystemExit) as error:
        raise _at_row(form, error, None, file) from error
    if not isinstance(results, Sequence) or len(results) != len(rows):
        said = f"{len(results)} results" if isinstance(results, Sequence) else type(results).__name__
        raise BatchFailed(
            f"migrate(rows) was given {len(rows)} rows and returned {said}.",
            "Return a list with one mapping (or None) per row, in the same order.",
        )
    return list(results)


async def _row_by_row(form: ComputeRows, rows: list[Row], keys: list[Key], file: Path) -> list[Any]:
    if inspect.iscoroutinefunction(form.function):
        return await _concurrently(form, rows, keys, file)

    given_up = Event()

    def in_turn() -> list[Any]:
        results: list[Any] = []
        for row, key in zip(rows, keys, strict=True):
            if given_up.is_set():
                break
            try:
                results.append(form.function(row))
            except (Exception, SystemExit) as error:
                raise _at_row(form, error, key, file) from error
        return results

    try:
        # in a thread, so that heartbeats and signals are served however long the function takes
        return await to_thread.run_sync(in_turn, abandon_on_cancel=True)
    finally:
        # a process ends no sooner than its threads: this one has no further row to do
        given_up.set()


async def _concurrently(form: ComputeRows, rows: list[Row], keys: list[Key], file: Path) -> list[Any]:
    results: list[Any] = [None] * len(rows)
    failures: list[BatchFailed] = []
    limiter = anyio.Semaphore(form.options.concurrency)

    async def one(i: int) -> None:
        try:
            async with limiter:
                results[i] = await form.function(rows[i])
        except (Exception, SystemExit) as error:
            failures.append(_at_row(form, error, keys[i], file))
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for i in range(len(rows)):
            group.start_soon(one, i)
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


def _check(wanted: Mapping[str, tuple[type, ...]], key: Key, result: Any) -> None:
    if type(result) is not dict and not isinstance(result, Mapping):
        raise BatchFailed(
            f"Row {show_key(key)}: migrate() returned {type(result).__name__}, not a mapping.",
            f'Return {{"{next(iter(wanted))}": value}}, or None to leave the row alone.',
            key,
        )
    if result.keys() != wanted.keys():
        raise _wrong_columns(wanted, key, set(map(str, result)))
    for name, accepted in wanted.items():
        value = result[name]
        if value is not None and accepted and not isinstance(value, accepted):
            raise BatchFailed(
                f"Row {show_key(key)}: migrate() returned {type(value).__name__} for {name}, "
                f"which takes {accepted[0].__name__}.",
                "Convert it in the script.",
                key,
            )


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
    row = f"Row {show_key(key)}: " if key is not None else ""
    where = f" at {line}" if (line := script_line(error, file)) else ""
    # an exception's text often quotes the value it met
    said = "" if form.options.mask or not str(error) else f": {error}"
    failure = BatchFailed(
        f"{row}migrate() raised {type(error).__name__}{said}{where}", "Mend the script or this row.", key
    )
    failure.__cause__ = error
    return failure
