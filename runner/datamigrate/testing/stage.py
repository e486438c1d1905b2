"""One data migration on a scratch database, where it can be run by the real application as often as wanted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from datamigrate.authoring.forms import FreeForm, RowsForm
from datamigrate.authoring.script import Script
from datamigrate.database.schema.revisions import resolve
from datamigrate.database.schema.upgrade import upgrade_schema
from datamigrate.doing.rehearsal import Rehearsal
from datamigrate.doing.result import Result
from datamigrate.doing.runner import Report
from datamigrate.doing.sampling import RehearsalLimits
from datamigrate.doing.settings import Budget
from datamigrate.doing.stopping import Stop
from datamigrate.faces.app import Application
from datamigrate.faces.gates import GateClosed
from datamigrate.faces.project import Project
from datamigrate.faces.run_options import RunOptions
from datamigrate.testing import asking
from datamigrate.testing.alone import Alone, alone
from datamigrate.testing.making import CannotMake, Maker
from datamigrate.testing.pointing import Pointer
from datamigrate.testing.rows import Difference, Row, Snapshot, differences, read_tables, snapshot
from datamigrate.testing.scratch import Scratch, Workshop, on
from datamigrate.testing.telling import NotProven
from datamigrate.testing.waiting import waited
from datamigrate.thought.lifecycle import Cause
from datamigrate.thought.planner import Action
from datamigrate.words.errors import DatamigrateError
from datamigrate.words.events import BatchDone, Event, Publish, publish_to

T = TypeVar("T")

MOST_MADE = 60
"""Rows made up before it is said that none of them is pending."""

BATCH_OF_OTHERS = 1000
"""Rows in a batch of what the migration depends on."""


@dataclass(frozen=True, eq=False)
class Ran:
    """What came of a run: its `outcome` (`done` or `stopped`), the `report` of all it did, what it told, and
    the rows of the whole database before and after."""

    outcome: str
    report: Report
    events: tuple[Event, ...]
    before: Snapshot
    after: Snapshot
    error: DatamigrateError | None = None

    @property
    def batches(self) -> int:
        """How many batches were committed."""
        return sum(isinstance(event, BatchDone) for event in self.events)

    @property
    def changes(self) -> list[Difference]:
        """The rows that are not what they were, of all tables."""
        return differences(self.before, self.after)


@dataclass(frozen=True, eq=False)
class Grounds:
    """What the trials of a test have in common."""

    project: Project
    workshop: Workshop
    pointer: Pointer

    def stage(self, name: str, batch_size: int) -> "Stage":
        """A database at the revisions that this migration requires. Raises UnknownMigration, ScriptError,
        GraphError, and what keeps Alembic from going there."""
        project = alone(self.project, name)
        script = project.library().named(name)
        assert script is not None
        scratch = self.workshop.like(name, lambda: self._risen(project))
        if name not in self.workshop.tables:
            self.workshop.tables[name] = self._tables(scratch)
        return Stage(self, project, script, scratch, self.workshop.tables[name], batch_size)

    def climb(self, scratch: Scratch, revision: str, but: str = "") -> None:
        """Take the schema to a revision; what gates on the way wait for is run, unless it is the one named.

        Raises GateClosed at that one's gate.
        """
        with self.pointer.at(scratch, makes_sure=True):
            waited(self._climb(scratch, revision, but))

    def _tables(self, scratch: Scratch) -> Mapping[str, Any]:
        with self.pointer.at(scratch, makes_sure=True):
            alembics = self.pointer.version_tables
        return {name: table for name, table in on(scratch, read_tables).items() if name not in alembics}

    def _risen(self, project: Alone) -> Scratch:
        scratch = self.workshop.empty()
        script: ScriptDirectory = project.history.script
        for migration in project.library().migrations:
            for revision in resolve(script, migration).requires:
                self.climb(scratch, revision)
        return scratch

    async def _climb(self, scratch: Scratch, revision: str, but: str) -> None:
        met: set[str] = set()
        while (name := await self._knock(revision, but, met)) is not None:
            met.add(name)
            others = alone(self.project, name).going_to(scratch.urls[0])
            options = RunOptions(
                names=(name,), batch_size=BATCH_OF_OTHERS, allow_slow=True, ignore_window=True
            )
            await Application(others).run(options, Stop(), _ignore)

    async def _knock(self, revision: str, but: str, met: set[str]) -> str | None:
        """Try to apply; what the first gate that is shut waits for, if that may help."""
        try:
            await upgrade_schema(self.project.history, revision)
        except GateClosed as closed:
            if closed.migration == but or closed.migration in met:
                raise
            return closed.migration
        return None


@dataclass(eq=False)
class Stage:
    """A migration, its scratch database, and the tables there."""

    grounds: Grounds
    project: Alone
    script: Script
    scratch: Scratch
    tables: Mapping[str, Any]
    batch_size: int
    is_prepared: bool = False

    @property
    def name(self) -> str:
        """The migration's."""
        return self.script.name

    @property
    def application(self) -> Application:
        """As a new process would have it."""
        return Application(self.project.going_to(self.scratch.urls[0]))

    # the database -----------------------------------------------------------------------------------

    def copied(self) -> "Stage":
        """Another stage, on which everything is as it is here."""
        return replace(self, scratch=self.grounds.workshop.copy(self.scratch))

    def drop(self) -> None:
        """It is wanted no more."""
        self.grounds.workshop.drop(self.scratch)

    def on(self, work: Callable[[Connection], T]) -> T:
        """What the work gives, done on a connection of its own and committed."""
        return on(self.scratch, work)

    def snapshot(self) -> Snapshot:
        """All rows now."""
        return self.on(lambda connection: snapshot(connection, self.tables))

    def making(self, work: Callable[[Maker], T]) -> T:
        """Let somebody make rows."""
        return self.on(lambda connection: work(Maker(connection, self.tables, asking.wishes(self.script))))

    def populated(self, count: int) -> "Stage":
        """Another stage, with so many rows made up and what it depends on done; both for the first who asks."""
        scratch = self.grounds.workshop.like(f"{self.name} with {count} rows", lambda: self._filled(count))
        return replace(self, scratch=scratch, is_prepared=True)

    def populate(self, count: int) -> None:
        """Make up so many rows of each table that the script names, and more until some are pending; of all
        tables where it names none. Raises CannotMake."""
        named = [name for name in self.tables if name in asking.tables_of(self.script)] or list(self.tables)

        def fill(maker: Maker) -> None:
            for name in named:
                for _ in range(count):
                    maker.add(name, {})

        self.making(fill)
        if isinstance(self.script.form, RowsForm):
            self._top_up(self.script.form.table.fullname, count)

    def _filled(self, count: int) -> Scratch:
        self.populate(count)
        self.prepare()
        return self.scratch

    def _top_up(self, table: str, count: int) -> None:
        for _ in range(count, MOST_MADE, count):
            if self.pending():
                return
            self.making(lambda maker: [maker.add(table, {}) for _ in range(count)])
        raise CannotMake(
            f"{MOST_MADE} rows of {table} were made, and {self.name} finds none of them pending.", table
        )

    # the migration ----------------------------------------------------------------------------------

    def run(self, max_batches: int | None = None, listen: Publish | None = None) -> Ran:
        """Run it, and first what it depends on. An error is in what it gives."""
        self.prepare()
        before, heard = self.snapshot(), list[Event]()
        publish = publish_to(heard.append, *([listen] if listen else []))
        report = self._report((self.name,), publish, self.batch_size, Budget(max_batches=max_batches))
        result = self._result(report)
        outcome, error = (result.outcome, result.error) if result else ("done", None)
        return Ran(outcome, report, tuple(heard), before, self.snapshot(), error)

    def work(self) -> Result | None:
        """The same without a look at the rows; None when nothing was left to do."""
        return self._result(self._report((self.name,), _ignore, self.batch_size, Budget()))

    def prepare(self) -> None:
        """See to it that what it depends on is done, and that no operator is waited for."""
        if self.is_prepared:
            return
        if depends_on := self.script.migration.depends_on:
            report = self._report(depends_on, _ignore, BATCH_OF_OTHERS, Budget())
            if error := next((result.error for result in report.results if result.error), None):
                raise error.with_traceback(None)
        self.is_prepared = True

    def reset(self) -> None:
        """`datamigrate reset`."""
        with self.grounds.pointer.at(self.scratch):
            waited(self.application.command(self.name, Cause.RESET, None))

    def pending(self) -> int | None:
        """How many rows are pending now; None where the script does not say. Raises what keeps them from being
        counted."""
        if isinstance(self.script.form, FreeForm) and self.script.form.remaining is None:
            return None
        with self.grounds.pointer.at(self.scratch):
            count = waited(self._pending())
        if count is None and (rehearsal := self.rehearse()) is not None and rehearsal.error is not None:
            raise rehearsal.error.with_traceback(None)
        return count

    def rehearse(self) -> Rehearsal | None:
        """`datamigrate run --dry-run`; None when it finds nothing to do."""
        with self.grounds.pointer.at(self.scratch):
            return waited(self._rehearse())

    async def _pending(self) -> int | None:
        application = self.application
        situation = await application.situation((self.name,))
        return (await application.count_pending(situation, (self.name,))).get(self.name)

    async def _rehearse(self) -> Rehearsal | None:
        application = self.application
        situation = await application.situation((self.name,))
        limits = RehearsalLimits(settings=self.project.configuration.settings)
        return next((r for r in await application.rehearse(situation, limits) if r.name == self.name), None)

    def _report(self, names: Sequence[str], publish: Publish, batch_size: int, budget: Budget) -> Report:
        options = RunOptions(
            names=tuple(names),
            budget=budget,
            batch_size=batch_size,
            allow_slow=True,
            ignore_window=True,
            arguments="pytest",
        )
        with self.grounds.pointer.at(self.scratch):
            return waited(self._run(options, publish))

    async def _run(self, options: RunOptions, publish: Publish) -> Report:
        application = self.application
        held = [m.name for m in application.project.library().migrations if m.options.hold]
        situation = await application.situation(options.names) if held else None
        for step in situation.plan.having(Action.HALTED) if situation else ():
            await application.command(step.migration.name, Cause.APPROVE, "it is on trial")
        _, report = await application.run(options, Stop(options.budget), publish)
        return report

    def _result(self, report: Report) -> Result | None:
        result = next((r for r in report.results if r.name == self.name), None)
        steps = [step for step in report.plan.steps if step.migration.name == self.name]
        if result is None and (undone := [s for s in steps if s.action is not Action.DONE]):
            raise NotProven(f"{self.name} did not run: it is {undone[0].action}, {undone[0].reason}.")
        return result


def add_rows(maker: Maker, table: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Insert rows whose other values are made up."""
    return [maker.add(table, row) for row in rows]


def _ignore(_event: Event) -> None:
    """Nobody is listening."""
