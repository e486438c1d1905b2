"""Undoing a data migration: which way back there is, what stands in it, and going it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from datamigrate.authoring.forms import FreeForm
from datamigrate.authoring.script import Script
from datamigrate.database.database import Database, open_database
from datamigrate.database.examining import examine
from datamigrate.database.ledger.undo import changed_since, may_undo, prune_some, unkept
from datamigrate.doing.effort import Workplace
from datamigrate.doing.rehearsal import Rehearsal, rehearse
from datamigrate.doing.revert_work import RevertWork, revert_work
from datamigrate.doing.reverting import Trial, Undone, revert, script_back, try_back
from datamigrate.doing.sampling import RehearsalLimits
from datamigrate.doing.settings import Budget
from datamigrate.doing.stopping import Stop
from datamigrate.doing.work import Work
from datamigrate.doing.working import work_for
from datamigrate.faces.app import Application
from datamigrate.faces.situation import Situation
from datamigrate.thought.gates import gates_in
from datamigrate.thought.lifecycle import UNDOING, Cause, State, advance
from datamigrate.words.errors import LifecycleError, NoWayBack, SchemaError
from datamigrate.words.events import Publish
from datamigrate.words.exits import Exit


@dataclass(frozen=True)
class RevertOptions:
    """What `revert` was asked: for how long, in which steps, why, and whether what stands on it matters."""

    budget: Budget = field(default_factory=Budget)
    batch_size: int | None = None
    reason: str | None = None
    force: bool = False
    arguments: str = ""


@dataclass(frozen=True, eq=False)
class WayBack:
    """How a migration can be undone: the work, the script as whose it is done, and `missing`, the number of
    rows that it has changed and the undo log does not have."""

    script: Script
    work: Work
    missing: int = 0


@dataclass(frozen=True)
class Reverted:
    """What a revert came to; `keys` are of some rows that somebody has changed since, for a person."""

    undone: Undone
    way: WayBack
    keys: tuple[str, ...] = ()

    @property
    def exit(self) -> Exit:
        """A failure, a stop, or rows that stay as they are."""
        if error := self.undone.result.error:
            return error.exit
        if self.undone.result.outcome == "stopped":
            return Exit.STOPPED
        return Exit.QUARANTINED if self.undone.changed else Exit.OK


async def undo(
    application: Application, name: str, options: RevertOptions, stop: Stop, publish: Publish
) -> Reverted:
    """Undo what a migration has done; who works on it leaves. Raises NoWayBack, SchemaError, LifecycleError,
    ClaimHeld while somebody else undoes it."""
    situation = await application.situation((name,))
    way = await way_back(application, situation, name)
    if not options.force:
        _refuse_what_stands_on_it(application, situation, name)
    await application.command(name, Cause.REVERT, options.reason)
    if (record := situation.record(name)) and record.state is State.RUNNING:
        # what was done until now is to be undone too
        now = await application.situation((name,))
        way = replace(await way_back(application, now, name), missing=way.missing)
    stop.begin()
    async with application.noting(situation, options.arguments) as (database, ending):
        place = Workplace(database, application.ledger, stop, publish)
        settings = application.project.configuration.settings
        undone = await revert(place, way.script, way.work, settings, options.batch_size)
        async with database.looking() as connection:
            keys = await connection.run_sync(changed_since, application.ledger.tables, name)
        reverted = Reverted(undone, way, tuple(keys) if undone.changed else ())
        ending.outcome, ending.code = _outcome(undone), reverted.exit
    return reverted


async def try_undo(
    application: Application, name: str, limits: RehearsalLimits
) -> tuple[WayBack, Trial | Rehearsal]:
    """Try a part of it in a transaction that is rolled back. Raises NoWayBack, SchemaError, BatchFailed."""
    situation = await application.situation((name,))
    way = await way_back(application, situation, name)
    async with _opened(situation) as database:
        if isinstance(way.work, RevertWork):
            return way, await try_back(database, way.script, way.work, limits)
        return way, await rehearse(database, way.script, way.work, limits)


async def way_back(application: Application, situation: Situation, name: str) -> WayBack:
    """The undo log where there is one, else the script's own `revert`. Raises NoWayBack, SchemaError."""
    script, record = situation.script(name), situation.record(name)
    if record is None or (record.started_at is None and record.state is not State.DONE):
        raise LifecycleError(
            f"{name} has never run: there is nothing to revert.", f"`datamigrate show {name}`."
        )
    state, tables = record.state, application.ledger.tables
    advance(name, state, Cause.REVERT)
    async with application.looking() as (database, _):
        async with database.looking() as connection:
            goes_on = state is State.REVERTING
            has_log = await connection.run_sync(may_undo, tables, name, goes_on)
        if has_log:
            await _refuse_losing_the_source(database, script)
            work = await revert_work(database, name, tables.undo)
            if state in UNDOING:
                return WayBack(script, work)
            async with database.looking() as connection:
                return WayBack(script, work, await connection.run_sync(unkept, tables, name))
        if script.revert is None:
            raise NoWayBack(
                f"{name} has no undo log, and its script has no `revert`.",
                "Write one beside `migrate`, of any form, e.g. revert = update_rows(...), and call again. With "
                "undo_log=True a log is kept of what is changed from then on.",
            )
        back = script_back(script, script.revert)
        return WayBack(back, await work_for(database, back))


@dataclass(frozen=True)
class Pruned:
    """So many entries of a migration's undo log were thrown away."""

    name: str
    rows: int


async def prune_undo(
    application: Application, name: str | None, older: float | None, reason: str | None, arguments: str
) -> list[Pruned]:
    """Throw the undo log of a migration, or of all, away, as far as it is older than so many seconds.

    Raises LifecycleError where a revert is under way.
    """
    situation = await application.situation((name,) if name else ())
    records = situation.ledger.migrations
    kept = [name] if name else [n for n, record in records.items() if record.undo]
    pruned: list[Pruned] = []
    if not any(records[n].undo for n in kept if n in records):
        return pruned
    async with application.noting(situation, arguments) as (database, ending):
        ledger = application.ledger
        for one in kept:
            async with database.writing() as connection:
                await ledger.note(connection, one, Cause.PRUNE, reason)
            rows = 0
            while True:
                async with database.writing() as connection:
                    some = await prune_some(connection, ledger.tables, one, older)
                if not some:
                    break
                rows += some
            pruned.append(Pruned(one, rows))
        ending.outcome, ending.code = "done", Exit.OK
    return pruned


# what stands in the way -----------------------------------------------------------------------------------


async def _refuse_losing_the_source(database: Database, script: Script) -> None:
    if isinstance(script.form, FreeForm):
        return
    try:
        async with database.looking() as connection:
            await examine(connection, database.dialect, script.name, script.form)
    except SchemaError as error:
        raise SchemaError(
            f"{script.name} cannot be reverted. {error.message.removeprefix(f'{script.name}: ')} A later revision "
            "has taken it away, and what the script has written may be the only copy left.",
            "Downgrade past that revision (`alembic downgrade`), then revert.",
        ) from error


def _refuse_what_stands_on_it(application: Application, situation: Situation, name: str) -> None:
    force = f'Or undo it all the same: `datamigrate revert {name} --force --reason "..."`.'
    for other in situation.library.scripts:
        record = situation.record(other.name)
        if name in other.migration.depends_on and record and record.state is State.DONE:
            raise LifecycleError(
                f"{other.name} depends on {name}, and is done.",
                f"Undo that first: `datamigrate revert {other.name}`. {force}",
            )
    for revision in application.project.history.script.walk_revisions():
        if revision.revision in situation.schema.applied:
            gates = gates_in(Path(revision.path).read_bytes())
            if any(name in gate.names for gate in gates):
                raise LifecycleError(
                    f"Revision {revision.revision} waited for {name}, and is applied.",
                    f"Downgrade past it first: `alembic downgrade {revision.revision}-1`. {force}",
                )


@asynccontextmanager
async def _opened(situation: Situation) -> AsyncIterator[Database]:
    database = open_database(situation.whereabouts.address, read_only=False)
    try:
        yield database
    finally:
        await database.close()


def _outcome(undone: Undone) -> str:
    result = undone.result
    if result.error:
        return f"failed: {result.name}"
    return f"stopped: {result.reason}" if result.outcome == "stopped" else "done"
