"""The application: a method for each verb. It prints nothing; what it finds it gives back as values."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import anyio

from datamigrate.authoring.template import NewScript, new_script
from datamigrate.database.database import Database, open_database
from datamigrate.doing.effort import Workplace
from datamigrate.doing.owner import is_gone
from datamigrate.doing.rehearsal import Rehearsal, rehearse
from datamigrate.doing.runner import Report, run_plan
from datamigrate.doing.sampling import RehearsalLimits
from datamigrate.doing.settings import MOST_WORKERS, Settings
from datamigrate.doing.stopping import Stop
from datamigrate.doing.working import work_for
from datamigrate.faces.again import again_if_lost
from datamigrate.faces.company import company_for
from datamigrate.faces.onlooker import Onlooker
from datamigrate.faces.project import Whereabouts
from datamigrate.faces.refusal import refusal_in_words
from datamigrate.faces.run_options import RunOptions
from datamigrate.faces.scheduling import end_at, hours_of, keep_schedules, new_schedules, take_turns
from datamigrate.faces.situation import Situation
from datamigrate.thought.lifecycle import Cause, Standing, State, way_on
from datamigrate.thought.planner import Action
from datamigrate.thought.tuning import Tuning
from datamigrate.words.errors import (
    ClaimHeld,
    GraphError,
    Halted,
    LifecycleError,
    SchemaError,
)
from datamigrate.words.events import Publish
from datamigrate.words.exits import Exit
from datamigrate.words.rows import human_rows


@dataclass
class Ending:
    """How something ended that the history keeps."""

    outcome: str = "interrupted"
    code: Exit = Exit.INTERRUPTED


class Application(Onlooker):
    """One project, to look at and to work on. Every method opens the database it needs and closes it again."""

    # trying and running -----------------------------------------------------------------------------

    async def rehearse(self, situation: Situation, limits: RehearsalLimits) -> list[Rehearsal]:
        """Try every step that would run, or would if an operator said so, in transactions that are rolled
        back."""
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

    async def run(self, options: RunOptions, stop: Stop, publish: Publish) -> tuple[Situation, Report]:
        """Do what is pending. Raises the first problem of a script before anything is done, unless
        `keep_going` or named migrations leave it aside."""
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
        """Put those of the named that are done back in line, if a fresh look finds rows pending again, or some that the
        script has left alone: it may not leave them alone any more."""
        finished = situation.plan.having(Action.DONE) + situation.plan.having(Action.DRIFTED)
        done = [step.migration.name for step in finished if step.migration.name in names]
        counts = await self.count_pending(situation, done) if done else {}
        known = {n: situation.ledger.migrations[n] for n in counts}
        stale = {n: c for n, c in counts.items() if c > known[n].quarantined}
        for name, pending in stale.items():
            with suppress(LifecycleError, ClaimHeld):  # another run has reopened it meanwhile
                await self.command(name, Cause.REOPEN, f"{human_rows(pending)} pending")
        return bool(stale)

    async def command(self, name: str, cause: Cause, reason: str | None, force: bool = False) -> State:
        """An operator's verb on one migration. Whoever works on it hears it, and may finish the batch where that is
        to be halted, unless by `force`. Raises LifecycleError, ClaimHeld, UnknownMigration."""
        situation = await self.situation((name,))
        script = situation.script(name)
        async with self._writing(situation.whereabouts) as database:
            await self._ensure_ledger(database)
            async with database.writing() as connection:
                await self.ledger.refuse_meanwhile(connection, name, cause, *self.hearsay)
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
    def hearsay(self) -> tuple[float, Callable[[str], bool]]:
        """After how many seconds nobody is heard of any more, and who is known to be gone."""
        return self._settings.claim_expiry, lambda owner: is_gone(owner, self.owner)

    @property
    def _settings(self) -> Settings:
        return self.project.configuration.settings

    @asynccontextmanager
    async def _writing(self, whereabouts: Whereabouts, connections: int = 5) -> AsyncIterator[Database]:
        database = open_database(whereabouts.address, read_only=False, connections=connections)
        try:
            with refusal_in_words(database):
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
        async def ensure() -> None:
            with refusal_in_words(database):
                async with database.writing() as connection:
                    await self.ledger.ensure(connection)

        await again_if_lost(ensure)

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
"""Verbs that let whoever works on it finish the batch."""


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
