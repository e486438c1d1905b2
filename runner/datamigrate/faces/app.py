"""The application: a method for each verb. It prints nothing; what it finds it gives back as values."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

import anyio

from datamigrate.authoring.script import Library, Script
from datamigrate.authoring.template import NewScript, new_script
from datamigrate.database.database import Database, open_database
from datamigrate.database.ledger.records import LedgerView, MigrationRecord, RunRecord, TransitionRecord
from datamigrate.database.ledger.store import Ledger
from datamigrate.database.revisions import History, read_heads, resolve, schema_at
from datamigrate.doing.executor import Workplace
from datamigrate.doing.owner import this_process
from datamigrate.doing.runner import Report, run_plan, work_for
from datamigrate.doing.settings import Budget, Settings
from datamigrate.doing.stopping import Stop
from datamigrate.faces.project import Project, Whereabouts, locate, named_address
from datamigrate.thought.graph import problems as graph_problems
from datamigrate.thought.graph import without_cycles
from datamigrate.thought.lifecycle import Cause, State
from datamigrate.thought.planner import Action, Plan, Revisions, Step, make_plan
from datamigrate.words.errors import DatamigrateError, GraphError, UnknownMigration
from datamigrate.words.events import Publish
from datamigrate.words.exits import Exit


@dataclass(frozen=True)
class Situation:
    """Scripts, schema and ledger at one moment, and the plan that follows from them."""

    library: Library
    plan: Plan
    ledger: LedgerView
    problems: tuple[DatamigrateError, ...]
    whereabouts: Whereabouts

    def record(self, name: str) -> MigrationRecord | None:
        """What the ledger knows of a migration."""
        return self.ledger.migrations.get(name)


@dataclass(frozen=True)
class RunOptions:
    """What `run` was asked: which migrations, for how long, how patiently."""

    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    budget: Budget = field(default_factory=Budget)
    batch_size: int | None = None
    keep_going: bool = False
    wait: bool = True
    arguments: str = ""


@dataclass(frozen=True)
class Detail:
    """One migration in full."""

    step: Step | None
    script: Script | None
    record: MigrationRecord | None
    transitions: tuple[TransitionRecord, ...]


class Application:
    """One project. Every method opens the database it needs and closes it again."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.owner = this_process()
        self.ledger = Ledger(self.owner, project.configuration.schema)

    # looking ----------------------------------------------------------------------------------------

    async def situation(self, names: Sequence[str] = (), tags: Sequence[str] = ()) -> Situation:
        """Read everything and plan; writes nothing. Raises UnknownMigration for a name nobody has."""
        library = self.project.library()
        async with self._looking() as (database, whereabouts):
            return await self._read(database, whereabouts, library, names, tags)

    async def count_pending(self, situation: Situation) -> dict[str, int]:
        """Exactly how many rows are pending now, for each migration that can be asked."""
        counts: dict[str, int] = {}
        async with self._looking() as (database, _):
            place = Workplace(database, self.ledger, Stop(), lambda _: None)
            for step in situation.plan.steps:
                script = situation.library.named(step.migration.name)
                if script is None or step.action in (Action.BLOCKED, Action.OBSOLETE):
                    continue
                try:
                    work = await work_for(place, script)
                    async with database.looking() as connection:
                        counts[script.name] = await work.count(connection)
                except DatamigrateError:
                    continue
        return counts

    async def detail(self, name: str) -> Detail:
        """One migration, from its script and from the ledger."""
        library = self.project.library()
        async with self._looking() as (database, whereabouts):
            situation = await self._read(database, whereabouts, library, (name,), ())
            async with database.looking() as connection:
                transitions = await self.ledger.transitions(connection, name)
        step = next((s for s in situation.plan.steps if s.migration.name == name), None)
        return Detail(step, library.named(name), situation.record(name), tuple(transitions))

    async def runs(self, limit: int) -> list[RunRecord]:
        """The latest runs, newest first."""
        async with self._looking() as (database, _), database.looking() as connection:
            return await self.ledger.runs(connection, limit)

    # running ----------------------------------------------------------------------------------------

    async def run(self, options: RunOptions, stop: Stop, publish: Publish) -> tuple[Situation, Report]:
        """Do what is pending. Raises the first problem of a script before anything is done, unless
        `keep_going` or named migrations leave it aside."""
        situation = await self.situation(options.names, options.tags)
        if situation.problems and not (options.keep_going or options.names):
            raise situation.problems[0]
        if not situation.plan.to_do:
            return situation, Report(situation.plan, ())
        stop.begin()
        async with self._writing(situation.whereabouts) as database:
            run = await self._begin_run(database, options.arguments)
            place = Workplace(database, self.ledger, stop, publish, options.wait)
            scripts = {script.name: script for script in situation.library.scripts}
            code, outcome = Exit.INTERRUPTED, "interrupted"
            try:
                report = await run_plan(
                    place, situation.plan, scripts, self._settings, options.batch_size, options.keep_going
                )
                code, outcome = report.exit, _outcome(report)
            finally:
                await self._end_run(database, run, outcome, code)
        return situation, report

    async def command(self, name: str, cause: Cause, reason: str | None) -> State:
        """An operator's verb on one migration. Raises LifecycleError, ClaimHeld, UnknownMigration."""
        situation = await self.situation((name,))
        script = situation.library.named(name)
        if script is None:
            raise UnknownMigration(
                f"The script of {name} is gone; only its record is left.", "Restore the file to work on it."
            )
        async with self._writing(situation.whereabouts) as database:
            await self._ensure_ledger(database)
            async with database.writing() as connection:
                await self.ledger.refuse_if_held(connection, name, self._settings.claim_expiry)
                return await self.ledger.command(connection, script.migration, cause, reason)

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
    ) -> Situation:
        async with database.looking() as connection:
            heads = await connection.run_sync(read_heads, whereabouts.environment)
            view = await self.ledger.view(connection)
        schema = schema_at(self.project.history, heads)
        revisions, unresolved = _resolve_all(self.project.history, library)
        usable = [script.migration for script in library.scripts if script.name in revisions]
        unfit = graph_problems(usable, frozenset({*view.migrations, *(s.name for s in library.scripts)}))
        problems = (*library.problems, *unresolved, *unfit)
        plan = make_plan(without_cycles(usable), revisions, schema, view.for_planning())
        _refuse_unknown_tags(tags, library, problems)
        _refuse_unknown(names, [*(s.name for s in library.scripts), *view.migrations], problems)
        return Situation(library, _narrowed(plan, names, tags), view, problems, whereabouts)

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[tuple[Database, Whereabouts]]:
        named = named_address(self.project)
        database = open_database(named, read_only=True) if named else None
        try:
            if database is not None:
                # a database that is down is told before env.py trips over it
                async with database.looking():
                    pass
            whereabouts = await locate(self.project, named)
            database = database or open_database(whereabouts.address, read_only=True)
            yield database, whereabouts
        finally:
            if database is not None:
                await database.close()

    @asynccontextmanager
    async def _writing(self, whereabouts: Whereabouts) -> AsyncIterator[Database]:
        database = open_database(whereabouts.address, read_only=False)
        try:
            yield database
        finally:
            await database.close()

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


def _resolve_all(history: History, library: Library) -> tuple[dict[str, Revisions], list[DatamigrateError]]:
    revisions: dict[str, Revisions] = {}
    problems: list[DatamigrateError] = []
    for script in library.scripts:
        try:
            revisions[script.name] = resolve(history, script.migration)
        except GraphError as error:
            problems.append(error)
    return revisions, problems


def _refuse_unknown(names: Sequence[str], known: Iterable[str], problems: Sequence[DatamigrateError]) -> None:
    everyone = list(known)
    for name in names:
        if name not in everyone:
            if problems:
                raise problems[0]
            close = get_close_matches(name, everyone, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else "`datamigrate list` shows the names there are."
            raise UnknownMigration(f"There is no data migration {name!r}.", hint)


def _refuse_unknown_tags(tags: Sequence[str], library: Library, problems: Sequence[DatamigrateError]) -> None:
    everyone = {tag for migration in library.migrations for tag in migration.tags}
    for tag in tags:
        if tag not in everyone:
            if problems:
                raise problems[0]
            hint = f"Tags there are: {', '.join(sorted(everyone))}." if everyone else "No script has a tag."
            raise UnknownMigration(f"No data migration has the tag {tag!r}.", hint)


def _narrowed(plan: Plan, names: Sequence[str], tags: Sequence[str]) -> Plan:
    if not names and not tags:
        return plan
    wanted = set(names)
    for step in reversed(plan.steps):
        if step.migration.name in wanted or step.migration.tags & set(tags):
            wanted |= {step.migration.name, *step.migration.depends_on}
    return Plan(tuple(s for s in plan.steps if s.migration.name in wanted), plan.heads, plan.gone)


def _outcome(report: Report) -> str:
    if failed := next((result for result in report.results if result.error), None):
        return f"failed: {failed.name}"
    if report.exit is Exit.STOPPED:
        return f"stopped: {report.stopped}"
    return "done"
