"""The application: a method for each verb. It prints nothing; what it finds it gives back as values.

What works on rows is imported by the methods that do, so that a look at the plan does not wait for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from sqlalchemy.exc import DBAPIError

from datamigrate.authoring.script import Library, Script
from datamigrate.authoring.template import NewScript, new_script
from datamigrate.database.database import Database, open_database
from datamigrate.database.ledger.records import (
    LedgerView,
    MigrationRecord,
    OccurrenceRecord,
    RunRecord,
    TransitionRecord,
)
from datamigrate.database.ledger.store import Ledger
from datamigrate.database.ledger.undo import UndoSize, changed_since, undo_size
from datamigrate.database.schema.revisions import read_heads
from datamigrate.doing.hours import Clock
from datamigrate.doing.owner import is_gone, this_process
from datamigrate.doing.settings import MOST_WORKERS, Budget, Settings
from datamigrate.doing.stopping import Stop
from datamigrate.faces.project import Project, Whereabouts, locate, named_address
from datamigrate.faces.scheduling import end_at, hours_of, keep_schedules, new_schedules, take_turns
from datamigrate.faces.situation import Situation, situate
from datamigrate.thought.agenda import Agenda
from datamigrate.thought.lifecycle import Cause, Standing, State, way_on
from datamigrate.thought.planner import Action, Step
from datamigrate.thought.tuning import Tuning
from datamigrate.words.errors import (
    ClaimHeld,
    DatamigrateError,
    GraphError,
    Halted,
    LifecycleError,
    SchemaError,
)
from datamigrate.words.events import Publish
from datamigrate.words.exits import Exit
from datamigrate.words.quarantine import SetAside

if TYPE_CHECKING:
    from datamigrate.doing.rehearsal import Rehearsal
    from datamigrate.doing.runner import Report
    from datamigrate.doing.sampling import RehearsalLimits


@dataclass(frozen=True)
class RunOptions:
    """What `run` was asked: which migrations, for how long, how patiently, whether it may be slow,
    and whether the database's health may hold it back.

    `until` is a time of the day, `due` leaves everything but what is scheduled alone, and what was failed
    before is not tried again without `retries_failed`, nor what is `spared` (see Agenda). Passing faults are
    met with `least_attempts` tries at least.
    """

    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    budget: Budget = field(default_factory=Budget)
    batch_size: int | None = None
    keep_going: bool = False
    wait: bool = True
    workers: int = 1
    nice: float | None = None
    allow_slow: bool = False
    until: str | None = None
    due: bool = False
    ignore_window: bool = False
    retries_failed: bool = True
    least_attempts: int = 1
    spared: Mapping[str, tuple[str, datetime | None]] = field(default_factory=dict)
    throttle: bool = True
    arguments: str = ""

    @property
    def agenda(self) -> Agenda:
        """What is wanted of a plan, at whatever moment."""
        return Agenda(
            asked=frozenset(self.names),
            only_due=self.due,
            ignores_windows=self.ignore_window,
            retries_failed=self.retries_failed,
            spared=self.spared,
        )


@dataclass(frozen=True)
class Detail:
    """One migration in full, with the rows it has set aside; `undo` is counted to the end, and `changed_since`
    has keys that a revert left."""

    step: Step | None
    script: Script | None
    record: MigrationRecord | None
    transitions: tuple[TransitionRecord, ...]
    quarantine: tuple[SetAside, ...] = ()
    occurrences: tuple[OccurrenceRecord, ...] = ()
    undo: UndoSize | None = None
    changed_since: tuple[str, ...] = ()


@dataclass
class Ending:
    """How something ended that the history keeps."""

    outcome: str = "interrupted"
    code: Exit = Exit.INTERRUPTED


class Application:
    """One project. Every method opens the database it needs and closes it again.

    Windows and schedules go by the database's clock, unless another one is given. One that
    `keeps_whereabouts` does not ask env.py again where the database is.
    """

    def __init__(self, project: Project, clock: Clock | None = None) -> None:
        self.project = project
        self.clock = clock
        self.keeps_whereabouts = False
        self._whereabouts: Whereabouts | None = None
        self.owner = this_process()
        self.ledger = Ledger(self.owner, project.configuration.schema)

    # looking ----------------------------------------------------------------------------------------

    async def situation(
        self, names: Sequence[str] = (), tags: Sequence[str] = (), wanted: Agenda | None = None
    ) -> Situation:
        """Read everything and plan; writes nothing. Raises UnknownMigration for a name nobody has."""
        library = self.project.library()
        async with self.looking() as (database, whereabouts):
            return await self._read(database, whereabouts, library, names, tags, wanted)

    async def count_pending(self, situation: Situation, names: Sequence[str] = ()) -> dict[str, int]:
        """Exactly how many rows are pending now, for each migration (of those named) that can be asked."""
        from datamigrate.doing.working import work_for

        counts: dict[str, int] = {}
        async with self.looking() as (database, _):
            for step in situation.plan.steps:
                script = situation.library.named(step.migration.name)
                if script is None or step.action in (Action.BLOCKED, Action.OBSOLETE):
                    continue
                if names and script.name not in names:
                    continue
                try:
                    work = await work_for(database, script)
                    async with database.looking() as connection:
                        counts[script.name] = await work.count(connection)
                except (DatamigrateError, DBAPIError):
                    # what it reads may be gone by now
                    continue
        return counts

    async def unfit(self, situation: Situation) -> list[DatamigrateError]:
        """What is wrong between the scripts that would run and the tables they would walk."""
        from datamigrate.doing.working import work_for

        found: list[DatamigrateError] = []
        async with self.looking() as (database, _):
            for step in situation.plan.ahead:
                try:
                    await work_for(database, situation.script(step.migration.name))
                except SchemaError as error:
                    found.append(error)
        return found

    async def detail(self, name: str) -> Detail:
        """One migration, from its script and from the ledger."""
        library = self.project.library()
        async with self.looking() as (database, whereabouts):
            situation = await self._read(database, whereabouts, library, (name,), ())
            async with database.looking() as connection:
                transitions = await self.ledger.transitions(connection, name)
                aside = await self.ledger.quarantine(name).rows(connection)
                occurrences = await self.ledger.occurrences(connection, name)
                undo = await connection.run_sync(undo_size, self.ledger.tables, name)
                changed = await connection.run_sync(changed_since, self.ledger.tables, name)
        step = next((s for s in situation.plan.steps if s.migration.name == name), None)
        script, record = library.named(name), situation.record(name)
        found = script, record, tuple(transitions), aside, tuple(occurrences)
        return Detail(step, *found, undo, tuple(changed))

    async def runs(self, limit: int) -> list[RunRecord]:
        """The latest runs, newest first."""
        async with self.looking() as (database, _), database.looking() as connection:
            return await self.ledger.runs(connection, limit)

    async def rehearse(self, situation: Situation, limits: RehearsalLimits) -> list[Rehearsal]:
        """Try every step that would run, or would if an operator said so, in transactions that are rolled
        back."""
        from datamigrate.doing.rehearsal import Rehearsal, rehearse
        from datamigrate.doing.working import work_for

        rehearsals: list[Rehearsal] = []
        async with self._writing(situation.whereabouts) as database:
            for step in (*situation.plan.ahead, *situation.plan.having(Action.HALTED)):
                if step.waits_for:
                    continue
                script = situation.script(step.migration.name)
                try:
                    work = await work_for(database, script)
                except SchemaError as error:
                    if step.action is Action.HALTED:  # it may need a revision besides
                        continue
                    rehearsals.append(Rehearsal(script.name, None, error=error))
                    continue
                rehearsals.append(await rehearse(database, script, work, limits))
        return rehearsals

    # running ----------------------------------------------------------------------------------------

    async def run(self, options: RunOptions, stop: Stop, publish: Publish) -> tuple[Situation, Report]:
        """Do what is pending. Raises the first problem of a script before anything is done, unless
        `keep_going` or named migrations leave it aside."""
        from datamigrate.doing.effort import Workplace
        from datamigrate.doing.runner import Report, run_plan
        from datamigrate.faces.company import company_for

        situation = await self.situation(options.names, options.tags, options.agenda)
        for name in options.names:
            situation.script(name)
        if situation.problems and not (options.keep_going or options.names):
            raise situation.problems[0]
        if options.names and (halted := situation.plan.having(Action.HALTED)):
            raise _halted(situation, halted[0].migration.name)
        if await self._reopen(situation, options.names):
            situation = await self.situation(options.names, options.tags, options.agenda)
        await self._keep_schedules(situation)
        stop.begin()
        if options.until:
            end_at(stop, options.until, situation.agenda)
        if not situation.plan.to_do:
            return situation, Report(situation.plan, ())
        nice = self._settings.nice if options.nice is None else options.nice
        attempts = max(self._settings.max_attempts, options.least_attempts)
        settings = replace(self._settings, workers=options.workers, nice=nice, max_attempts=attempts)
        # an operator may ask for more workers on the way; what nobody needs is not opened
        most = replace(settings, workers=MOST_WORKERS).connections
        async with self._writing(situation.whereabouts, most) as database:
            due = [situation.script(step.migration.name) for step in situation.plan.to_do]
            company = company_for(self.project, database, due, self.owner, options.throttle)
            run = await self._begin_run(database, options.arguments)
            await take_turns(database, self.ledger, situation)
            hours = hours_of(situation, self.clock)
            place = Workplace(
                database, self.ledger, stop, publish, options.wait, options.allow_slow, hours=hours
            )
            scripts = {script.name: script for script in situation.library.scripts}
            code, outcome = Exit.INTERRUPTED, "interrupted"
            try:
                report = await company.keep(
                    place,
                    lambda at: run_plan(
                        at, situation.plan, scripts, settings, options.batch_size, options.keep_going
                    ),
                )
                code, outcome = report.exit, _outcome(report)
            finally:
                await self._end_run(database, run, outcome, code)
        return situation, report

    @asynccontextmanager
    async def noting(self, situation: Situation, arguments: str) -> AsyncIterator[tuple[Database, Ending]]:
        """The project's database, to write to, and a place for how that ended, which the history keeps."""
        async with self._writing(situation.whereabouts) as database:
            run, ending = await self._begin_run(database, arguments), Ending()
            try:
                yield database, ending
            finally:
                await self._end_run(database, run, ending.outcome, ending.code)

    async def _keep_schedules(self, situation: Situation) -> None:
        if new_schedules(situation):
            async with self._writing(situation.whereabouts) as database:
                await self._ensure_ledger(database)
                await keep_schedules(database, self.ledger, situation)

    async def _reopen(self, situation: Situation, names: Sequence[str]) -> bool:
        """Put those of the named that are done back in line, if a fresh look finds rows pending again."""
        finished = situation.plan.having(Action.DONE) + situation.plan.having(Action.DRIFTED)
        done = [step.migration.name for step in finished if step.migration.name in names]
        counts = await self.count_pending(situation, done) if done else {}
        known = {n: situation.ledger.migrations[n] for n in counts}
        stale = {n: c for n, c in counts.items() if c > known[n].left_alone + known[n].quarantined}
        for name, pending in stale.items():
            with suppress(LifecycleError, ClaimHeld):  # another run has reopened it meanwhile
                await self.command(name, Cause.REOPEN, f"{pending:,} rows are pending again")
        return bool(stale)

    async def command(self, name: str, cause: Cause, reason: str | None, force: bool = False) -> State:
        """An operator's verb on one migration. Whoever works on it may finish the batch where that is to be
        halted, unless by `force`. Raises LifecycleError, ClaimHeld, UnknownMigration."""
        situation = await self.situation((name,))
        script = situation.script(name)
        async with self._writing(situation.whereabouts) as database:
            await self._ensure_ledger(database)
            async with database.writing() as connection:
                if cause not in _MEANWHILE:
                    await self.ledger.refuse_if_held(
                        connection,
                        name,
                        self._settings.claim_expiry,
                        lambda owner: is_gone(owner, self.owner),
                    )
                fences = force or cause not in _HALTS
                return await self.ledger.command(connection, script.migration, cause, reason, fences)

    async def tune(self, name: str, change: Tuning, reason: str | None, clear: bool) -> Tuning:
        """Set another pace for one migration, also for those who work on it now; the pace that is wanted then.
        Raises LifecycleError, UnknownMigration."""
        situation = await self.situation((name,))
        script = situation.script(name)
        async with self._writing(situation.whereabouts) as database:
            await self._ensure_ledger(database)
            async with database.writing() as connection:
                return await self.ledger.tune(connection, script.migration, change, reason, clear)

    # writing scripts --------------------------------------------------------------------------------

    def new(self, message: str, requires: Sequence[str], kind: str) -> Path:
        """Write a new script; it requires the current heads unless told otherwise."""
        required = tuple(requires) or self.project.history.heads
        script: NewScript = new_script(message, required, kind, datetime.now(UTC))
        self.project.scripts.mkdir(parents=True, exist_ok=True)
        path = self.project.scripts / script.file
        if any(s.name == script.name for s in self.project.library().scripts) or path.exists():
            raise GraphError(f"There is a data migration {script.name!r} already.", "Choose another message.")
        path.write_text(script.text)
        return path

    # the inside -------------------------------------------------------------------------------------

    @property
    def _settings(self) -> Settings:
        return self.project.configuration.settings

    async def _read(
        self,
        database: Database,
        whereabouts: Whereabouts,
        library: Library,
        names: Sequence[str],
        tags: Sequence[str],
        wanted: Agenda | None = None,
    ) -> Situation:
        async with database.looking() as connection:
            heads = await connection.run_sync(read_heads, whereabouts.environment)
            view = await self.ledger.view(connection)
        return situate(
            self.project, library, heads, view, whereabouts, names, tags, self.agenda(view, wanted)
        )

    def agenda(self, view: LedgerView, wanted: Agenda | None = None) -> Agenda:
        """What is wanted, at the moment at which the ledger was read."""
        return replace(wanted or Agenda(), now=self.clock() if self.clock else view.at)

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[tuple[Database, Whereabouts]]:
        """The project's database, read-only, and how it was found."""
        named = named_address(self.project)
        database = open_database(named, read_only=True) if named else None
        try:
            if database is not None:
                # a database that is down is told before env.py trips over it
                async with database.looking():
                    pass
            whereabouts = self._whereabouts or await locate(self.project, named)
            if self.keeps_whereabouts and not whereabouts.complaint:
                self._whereabouts = whereabouts
            database = database or open_database(whereabouts.address, read_only=True)
            yield database, whereabouts
        finally:
            if database is not None:
                await database.close()

    @asynccontextmanager
    async def _writing(self, whereabouts: Whereabouts, connections: int = 5) -> AsyncIterator[Database]:
        database = open_database(whereabouts.address, read_only=False, connections=connections)
        try:
            yield database
        finally:
            await database.close()

    @asynccontextmanager
    async def recording(self, situation: Situation) -> AsyncIterator[Database]:
        """The situation's database to write to, with a ledger that is up to date."""
        async with self._writing(situation.whereabouts) as database:
            await self._ensure_ledger(database)
            yield database

    async def _ensure_ledger(self, database: Database) -> None:
        async with database.writing() as connection:
            await self.ledger.ensure(connection)

    async def _begin_run(self, database: Database, arguments: str) -> int:
        await self._ensure_ledger(database)
        async with database.writing() as connection:
            return await self.ledger.begin_run(connection, arguments)

    async def _end_run(self, database: Database, run: int, outcome: str, code: int) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(10):
            try:
                async with database.writing() as connection:
                    await self.ledger.end_run(connection, run, outcome, code)
            except Exception:
                # the run's own outcome matters more than the note of it
                return


_HALTS = frozenset({Cause.PAUSE, Cause.CANCEL})
_MEANWHILE = _HALTS | {Cause.RESUME, Cause.APPROVE}
"""Verbs that need not wait for the end of a run."""


def _halted(situation: Situation, name: str) -> Halted:
    record = situation.record(name)
    standing = record.standing if record else Standing(State.HELD)
    then = "then run it again"
    if standing.state is State.REVERTING:
        then = f"or `{way_on(name, State.REVERTED)}` to run it again from half-way back"
    return Halted(f"{name} is {standing}.", f"`{way_on(name, standing.state)}`, {then}.")


def _outcome(report: Report) -> str:
    if failed := next((result for result in report.results if result.error), None):
        return f"failed: {failed.name}"
    if report.exit is Exit.STOPPED:
        shut = ", ".join(step.migration.name for step in report.waiting)
        return f"stopped: {report.stopped or f'outside the window of {shut}'}"
    return "done with rows in quarantine" if report.exit is Exit.QUARANTINED else "done"
