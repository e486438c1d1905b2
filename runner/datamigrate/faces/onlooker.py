"""Looking at a project: what its scripts, its schema and its ledger say. Nothing is written.

What works on rows is imported where rows are counted, so that a look at the plan does not wait for it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from sqlalchemy.exc import DBAPIError

from datamigrate.authoring.script import Library, Script
from datamigrate.database.database import Database, open_database
from datamigrate.database.ledger.records import (
    LedgerView,
    MigrationRecord,
    OccurrenceRecord,
    RunRecord,
    TransitionRecord,
)
from datamigrate.database.ledger.store import Ledger
from datamigrate.database.ledger.tables import schema_on
from datamigrate.database.ledger.undo import UndoSize, changed_since, undo_size
from datamigrate.database.schema.revisions import read_heads
from datamigrate.doing.hours import Clock
from datamigrate.doing.owner import this_process
from datamigrate.faces.again import again_if_lost
from datamigrate.faces.project import Project, Whereabouts, locate, named_address
from datamigrate.faces.refusal import refusal_in_words
from datamigrate.faces.situation import Situation, situate
from datamigrate.thought.agenda import Agenda
from datamigrate.thought.planner import Action, Step
from datamigrate.words.errors import DatamigrateError, SchemaError
from datamigrate.words.quarantine import SetAside


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


class Onlooker:
    """Who looks at one project. Every method opens the database it needs and closes it again.

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

    async def situation(
        self, names: Sequence[str] = (), tags: Sequence[str] = (), wanted: Agenda | None = None
    ) -> Situation:
        """Read everything and plan; writes nothing. Raises UnknownMigration for a name nobody has."""
        library = self.project.library()

        async def read() -> Situation:
            async with self.looking() as (database, whereabouts):
                return await self._read(database, whereabouts, library, names, tags, wanted)

        return await again_if_lost(read)

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
            schema = schema_on(database.dialect.name, self.project.configuration.schema)
            self.ledger = replace(self.ledger, schema=schema)
            with refusal_in_words(database):
                yield database, whereabouts
        finally:
            if database is not None:
                await database.close()

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
