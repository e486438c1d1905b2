"""`datamigrate upgrade`: schema up to a gate, the data behind it, on to the target, then the rest of the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alembic.util import CommandError
from sqlalchemy.engine import URL

from datamigrate.authoring.script import Library
from datamigrate.database.address import Address, address
from datamigrate.database.schema.environment import ask_env
from datamigrate.database.schema.revisions import read_heads
from datamigrate.database.schema.upgrade import revisions_to, upgrade_schema
from datamigrate.doing.stopping import Stop
from datamigrate.faces.app import Application
from datamigrate.faces.gates import GateClosed
from datamigrate.faces.onlooker import Onlooker
from datamigrate.faces.project import Project, named_address
from datamigrate.faces.run_options import RunOptions
from datamigrate.faces.situation import Situation, situate, unplaced
from datamigrate.thought.agenda import Agenda
from datamigrate.thought.interleaving import Journey, Revision, SchemaLeg, interleave
from datamigrate.thought.lifecycle import State
from datamigrate.thought.planner import Action, Step
from datamigrate.words import events
from datamigrate.words.errors import ConfigurationError, DatabaseMissing, DatamigrateError, SchemaError
from datamigrate.words.exits import Exit

MAX_KNOCKS = 3


@dataclass(frozen=True)
class Survey:
    """The way from where the database is to the target, and what is wrong with scripts."""

    journey: Journey
    problems: tuple[DatamigrateError, ...]


@dataclass(frozen=True)
class Arrival:
    """How far the journey went: its exit code, and the error that ended it early, if any."""

    survey: Survey
    exit: Exit
    error: DatamigrateError | None = None
    stopped: str | None = None


async def survey(application: Onlooker, target: str, wanted: Agenda | None = None) -> Survey:
    """Plan the way; writes nothing. Raises GraphError when schema and data wait for each other, UsageError
    for a target that Alembic does not know, ConfigurationError when env.py goes to another database."""
    project, library = application.project, application.project.library()
    try:
        async with application.looking() as (database, whereabouts), database.looking() as connection:
            if whereabouts.environment is not None:
                theirs = address(whereabouts.environment.url, "env.py", project.history.root)
                _refuse_another(whereabouts.address, theirs)
            heads = await connection.run_sync(read_heads, whereabouts.environment)
            view = await application.ledger.view(connection)
            agenda = application.agenda(view, wanted)
            situation = situate(project, library, heads, view, whereabouts, agenda=agenda)
    except DatabaseMissing:
        # Alembic makes the file when the first revision is applied
        await _refuse_to_make_another(project)
        situation = unplaced(project)
    revisions = revisions_to(project.history, situation.plan.heads, target)
    journey = interleave(
        revisions,
        situation.schema.applied,
        situation.plan,
        situation.revisions,
        remembered(situation, library),
    )
    return Survey(journey, situation.problems)


async def travel(
    application: Application, target: str, options: RunOptions, stop: Stop, publish: events.Publish
) -> Arrival:
    """Go the way, leg by leg. Every leg is resumable, so that a second call goes on where one was ended."""
    way = await survey(application, target, options.agenda)
    if way.problems:
        raise way.problems[0]
    stop.begin()
    for leg in way.journey.legs:
        if why := stop.why():
            return Arrival(way, Exit.STOPPED, stopped=why)
        if isinstance(leg, SchemaLeg):
            arrival = await _apply(application, leg, way, options, stop, publish)
        else:
            arrival = await _run(application, leg.name, way, options, stop, publish)
        if arrival is not None:
            return arrival
    waiting = [step for step in way.journey.left if step.action is Action.WAITING]
    if waiting:
        return Arrival(way, Exit.STOPPED, stopped=_shut_out(waiting))
    return Arrival(way, await _in_the_end(application, way))


async def _in_the_end(application: Application, way: Survey) -> Exit:
    """What to tell of a whole journey: whether one of its data migrations has set rows aside."""
    names = {leg.name for leg in way.journey.legs if not isinstance(leg, SchemaLeg)}
    if not names:
        return Exit.OK
    ledger = (await application.situation()).ledger
    aside = any(record.quarantined for name, record in ledger.migrations.items() if name in names)
    return Exit.QUARANTINED if aside else Exit.OK


async def _run(
    application: Application,
    name: str,
    way: Survey,
    options: RunOptions,
    stop: Stop,
    publish: events.Publish,
) -> Arrival | None:
    """Run one data migration; the arrival when the journey ends with it."""
    _, report = await application.run(replace(options, names=(name,)), stop, publish)
    if report.exit in (Exit.OK, Exit.QUARANTINED):
        # what is in quarantine is for the gates to judge
        return None
    error = next((result.error for result in report.results if result.error), None)
    return Arrival(way, report.exit, error, report.stopped or _shut_out(report.waiting))


def _shut_out(steps: Sequence[Step]) -> str | None:
    return next((f"{step.migration.name} is {step.reason}" for step in steps), None)


async def _apply(
    application: Application,
    leg: SchemaLeg,
    way: Survey,
    options: RunOptions,
    stop: Stop,
    publish: events.Publish,
) -> Arrival | None:
    """Apply a leg's revisions; the arrival when the journey ends before one of them."""
    for revision in _tips(leg):
        for knock in range(MAX_KNOCKS + 1):
            try:
                await upgrade_schema(application.project.history, revision.id)
            except GateClosed as closed:
                if closed.quarantined:
                    return Arrival(way, Exit.QUARANTINED, SchemaError(f"Revision {revision.id}: {closed}"))
                # rows in the old form have come since its data was done
                if knock == MAX_KNOCKS:
                    raise _shut(revision, closed) from closed
                if (
                    arrival := await _run(application, closed.migration, way, options, stop, publish)
                ) is not None:
                    return arrival
            except CommandError as error:
                raise SchemaError(f"Alembic cannot apply revision {revision.id}: {error}") from error
            else:
                break
    publish(events.SchemaApplied("schema", tuple(revision.id for revision in leg.revisions)))
    return None


def _shut(revision: Revision, closed: GateClosed) -> SchemaError:
    return SchemaError(
        f"Revision {revision.id}: {closed}",
        "The application still writes the old form: deploy the version that writes the new one first.",
    )


def _tips(leg: SchemaLeg) -> list[Revision]:
    """The revisions of a leg on which no other of it stands: applying them applies all."""
    below = {parent for revision in leg.revisions for parent in revision.parents}
    return [revision for revision in leg.revisions if revision.id not in below]


def remembered(situation: Situation, library: Library) -> frozenset[str]:
    """The migrations that are done though their files are gone."""
    names = {script.name for script in library.scripts}
    records = situation.ledger.migrations.values()
    return frozenset(r.name for r in records if r.name not in names and r.state is State.DONE)


async def _refuse_to_make_another(project: Project) -> None:
    """Refuse where the file that is missing is not the one that env.py would make."""
    if (ours := named_address(project)) is None:
        return
    try:
        url = (await ask_env(project.history)).url
    except DatabaseMissing as missing:
        url = URL.create("sqlite", database=missing.place.file)
    _refuse_another(ours, address(url, "env.py", project.history.root))


def _refuse_another(ours: Address, theirs: Address) -> None:
    if not ours.is_same_database(theirs):
        raise ConfigurationError(
            f"datamigrate would go to {ours} (from {ours.source}), but the project's env.py goes to {theirs}.",
            "Name one database for both: set DATABASE_URL, or whatever env.py reads.",
        )
