"""Undoing what a data migration has done: by the undo log, or as its script's own `revert` says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.forms import Form
from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.undoing import Part
from datamigrate.doing.blaming import blames_rows
from datamigrate.doing.effort import Effort, Workplace
from datamigrate.doing.executor import Executor
from datamigrate.doing.failing import failed_batch
from datamigrate.doing.interpreter import made_for_many_rows
from datamigrate.doing.narrowing import failing_row
from datamigrate.doing.obstacles import kept_from_its_place
from datamigrate.doing.poison import Poison
from datamigrate.doing.result import Result
from datamigrate.doing.revert_work import RevertWork, prepare_for
from datamigrate.doing.sampling import RehearsalLimits, check_deferred
from datamigrate.doing.settings import Settings, for_script
from datamigrate.doing.stint import Stint
from datamigrate.doing.work import Work
from datamigrate.thought.lifecycle import BACK, Cause
from datamigrate.words import events
from datamigrate.words.migration import Bounds


@dataclass(frozen=True)
class Undone:
    """What became of a revert: so many rows are as they were, and so many somebody has changed since."""

    result: Result
    rows: int = 0
    changed: int = 0


def script_back(script: Script, form: Form) -> Script:
    """A script that does what the other one's `revert` says."""
    return replace(script, form=form, migration=replace(script.migration, options=form.options))


async def revert(
    place: Workplace, script: Script, work: Work, settings: Settings, batch_size: int | None = None
) -> Undone:
    """Do this work on the way back, as a run does its own on the way forth: claimed, in batches, verified."""
    effort = Effort(at_work=1)
    options = script.migration.options
    tuned = cache(partial(for_script, settings, options, batch_size))
    back = replace(
        place, ledger=replace(place.ledger, course=BACK), publish=_in_words_of(effort, place.publish)
    )
    try:
        with made_for_many_rows():
            outcome = await Executor(Stint(back, script, work, tuned, effort, _hire_nobody)).run()
        why = str(effort.halted) if effort.halted else place.stop.reason or ""
        result = Result(script.name, outcome.value, reason=why if outcome.value == "stopped" else "")
    except Exception as error:
        failure = failed_batch(place.database.dialect, script.migration, error, 0, verb=Cause.REVERT)
        result = Result(script.name, "failed", failure)
    return Undone(result, effort.done.rows, effort.done.left_alone)


def _hire_nobody(_wanted: int) -> None:
    """One worker goes back the way that it came."""


def _in_words_of(effort: Effort, publish: events.Publish) -> events.Publish:
    def told(event: events.Event) -> None:
        if isinstance(event, events.Finished):
            rows, changed = effort.done.rows, effort.done.left_alone
            event = events.Reverted(event.migration, rows, changed, event.seconds, effort.before)
        publish(event)

    return told


@dataclass(frozen=True)
class RowBack:
    """One row, its key and what the log has of it: as it is, and as a revert makes it. None is a row that is
    not there."""

    key: tuple[Any, ...]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True)
class Trial:
    """What a part of a revert has shown before it was rolled back; `rows` are some of `undone` and `changed`
    together, out of `pending` entries."""

    pending: int
    undone: int
    changed: int
    rows: tuple[RowBack, ...]


async def try_back(database: Database, script: Script, work: RevertWork, limits: RehearsalLimits) -> Trial:
    """Put the rows of the latest entries back in a transaction that is rolled back. Raises BatchFailed."""
    try:
        async with database.rehearsing(limits.timeouts) as connection:
            return await _tried_back(connection, script, work, limits)
    except DBAPIError as error:
        raise failed_batch(database.dialect, script.migration, error, kept=0, verb=Cause.REVERT) from error


async def _tried_back(
    connection: AsyncConnection, script: Script, work: RevertWork, limits: RehearsalLimits
) -> Trial:
    pending = await work.count(connection)
    upper = await work.find_upper(connection)
    part = None if upper is None else await work.choose(connection, Bounds(None, upper), limits.rows)
    if part is None:
        return Trial(pending, 0, 0, ())
    entries = await _some_entries(connection, work, limits.shown)
    await work.prepare_for_values(connection)
    before = await _rows_of(connection, work, entries)
    undone, changed = await _put_back_in_part(connection, script, work, part)
    after = await _rows_of(connection, work, entries)
    rows = (RowBack(key, row, after[entry][1]) for entry, (key, row) in before.items())
    return Trial(pending, undone, changed, tuple(rows))


async def _put_back_in_part(
    connection: AsyncConnection, script: Script, work: RevertWork, part: Part
) -> tuple[int, int]:
    """Settle these entries, or raise which row of them cannot be put back."""
    settled: list[tuple[int, int]] = []

    async def attempt(bounds: Bounds) -> Exception | None:
        last = part.last if bounds.lower is None else bounds.lower[0] - 1
        try:
            async with connection.begin_nested():
                counts = await work.put_back(connection, Part(bounds.upper[0], last))
                await check_deferred(connection)
        except DBAPIError as error:
            if blames_rows(work.dialect, error):
                return error
            raise
        settled.append(counts)
        return None

    whole = Bounds(None, (part.first,))
    if error := await attempt(whole):
        entries = await work.keys_in(connection, whole)
        if found := await failing_row(attempt, None, entries, error):
            poison = Poison(*found)
            raise await kept_from_its_place(connection, work, script.migration, poison) from poison.error
    return sum(undone for undone, _ in settled), sum(changed for _, changed in settled)


async def _some_entries(
    connection: AsyncConnection, work: RevertWork, most: int
) -> Sequence[tuple[int, str]]:
    t = work.undo
    latest = sa.select(t.c.id, t.c.shape).where(t.c.migration == work.migration, t.c.outcome.is_(None))
    found = await connection.execute(latest.order_by(t.c.id.desc()).limit(most))
    return [(entry, shape) for entry, shape in found]


async def _rows_of(
    connection: AsyncConnection, work: RevertWork, entries: Sequence[tuple[int, str]]
) -> dict[int, tuple[tuple[Any, ...], dict[str, Any] | None]]:
    rows: dict[int, tuple[tuple[Any, ...], dict[str, Any] | None]] = {}
    for shape, log in work.logs.items():
        mine = [entry for entry, of in entries if of == shape]
        width = len(log.shape.key)
        await prepare_for(connection, log)
        for entry, is_there, *values in await connection.execute(log.look_at(mine)):
            columns = dict(zip(log.shape.columns, values[width:], strict=True))
            rows[entry] = (tuple(values[:width]), columns if is_there else None)
    return rows
