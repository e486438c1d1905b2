"""Calling a script's compute function, and checking what it returns."""

import time
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from itertools import compress
from pathlib import Path
from threading import Event
from typing import Any

import anyio
from anyio import lowlevel

from datamigrate.authoring.bare import LEFT
from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.row import Row, rows_from
from datamigrate.database.cancelled import is_asked_for, is_in_cancelled_scope, taken_back
from datamigrate.doing.aside import aside
from datamigrate.doing.elsewhere import Elsewhere, ask_elsewhere
from datamigrate.doing.failing import failed_row, raised_by
from datamigrate.doing.fitting import KeyOf, of_its_row, refuse_unfit, values_of, wanted_by
from datamigrate.doing.mapping import BREATH
from datamigrate.words.errors import BatchFailed
from datamigrate.words.migration import Key

_UNANSWERED = object()
"""In the place of an answer that the function has not given."""


@dataclass(frozen=True, eq=False)
class Computed:
    """`columns` to write, as the dialect wants them: key, version, values, a list each with a place for
    every row; the key of each row left alone, with what was read of it; and in how many seconds the function gave its answers."""

    columns: tuple[list[Any], ...]
    left_alone: tuple[tuple[Any, ...], ...]
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
    """Call the function for all rows read, or have it called `elsewhere`. What it reads of a row are the last of its
    values, the row's version among them or in front. Raises BatchFailed with the key of the row it fails on."""
    width = key_width + version_width
    if not raw:
        return Computed(tuple([] for _ in range(width + len(form.writes))), ())
    start = len(raw[0]) - len(form.reads)
    rows = rows_from(form, raw, start)
    began = time.perf_counter()
    answers = await ask_elsewhere(elsewhere, [tuple(r[start:]) for r in raw]) if elsewhere else None
    if answers is not None:
        if answers.raised:
            key = None if form.takes_batch else tuple(raw[len(answers.results)][:key_width])
            raise failed_row(form, answers.raised, key)
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
    values = values_of(wanted_by(form), results, lambda i: tuple(raw[i][:key_width]))
    return Computed(
        (*([r[i] for r in raw] for i in range(width)), *values),
        tuple((*r[:key_width], *r[start:]) for r in alone),
        seconds,
    )


def computed_from(
    form: ComputeRows,
    key_width: int,
    version_width: int,
    columns: Sequence[Sequence[Any]],
    answers: Sequence[Any],
    seconds: float,
) -> Computed:
    """What the bare function's `answers` come to, for rows that were read as these columns. Raises RowFailed for one that does
    not fit its column."""
    start = len(columns) - len(form.reads)
    alone = [row for row, answer in zip(zip(*columns, strict=True), answers, strict=True) if answer is LEFT]
    if alone:
        done = [answer is not LEFT for answer in answers]
        columns = [tuple(compress(column, done)) for column in columns]
        answers = list(compress(answers, done))
    keys = columns[:key_width]
    refuse_unfit(wanted_by(form), [answers], lambda i: tuple(column[i] for column in keys))
    return Computed(
        (*map(list, columns[: key_width + version_width]), list(answers)),
        tuple((*row[:key_width], *row[start:]) for row in alone),
        seconds,
    )


async def _whole_batch(form: ComputeRows, rows: list[Row], file: Path) -> list[Any]:
    try:
        results = await _called(form.function, rows)
    except (Exception, SystemExit, CancelledError) as error:
        if isinstance(error, CancelledError) and is_asked_for():
            raise
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
    if iscoroutinefunction(form.function):
        return await _concurrently(form, rows, key_of, file)

    given_up = Event()

    def in_turn() -> list[Any]:
        function, results = form.function, []
        try:
            for row in rows:
                if given_up.is_set():
                    break
                results.append(of_its_row(function(row)))  # its length tells the row that failed
        except (Exception, SystemExit, CancelledError) as error:  # nobody cancels a thread
            raise _at_row(form, error, key_of(len(results)), file) from error
        return results

    try:
        # in a thread, so that heartbeats and signals are served however long the function takes
        return await aside(in_turn)
    finally:
        # the thread has no further row to do
        given_up.set()


async def _concurrently(form: ComputeRows, rows: list[Row], key_of: KeyOf, file: Path) -> list[Any]:
    results: list[Any] = [_UNANSWERED] * len(rows)
    failures: list[BatchFailed] = []
    function, left = form.function, iter(range(len(rows)))

    async def one_after_another() -> None:
        # tasks that take the next row when they are through with one: a task for each row takes many times
        # as long as most functions do
        for i in left:
            if not i % BREATH:
                await lowlevel.checkpoint()
            try:
                results[i] = of_its_row(await function(rows[i]))
            except (Exception, SystemExit, CancelledError) as error:
                if isinstance(error, CancelledError) and is_in_cancelled_scope():
                    raise
                failures.append(_at_row(form, error, key_of(i), file))
                group.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in range(min(form.options.concurrency, len(rows))):
            group.start_soon(one_after_another)
    if failures:
        raise failures[0] from failures[0].__cause__
    if missing := [i for i, result in enumerate(results) if result is _UNANSWERED]:
        raise _at_row(form, CancelledError(), key_of(missing[0]), file)
    return results


async def _called(function: Callable[[Any], Any], rows: list[Row]) -> Any:
    if iscoroutinefunction(function):
        with taken_back():
            return await function(rows)
    return await aside(partial(function, rows))


def _at_row(form: ComputeRows, error: BaseException, key: Key | None, file: Path) -> BatchFailed:
    failure = failed_row(form, raised_by(error, file), key)
    failure.__cause__ = error
    return failure
