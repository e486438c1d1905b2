"""`run --dry-run --through`: the way from where the database is to the migrations that cannot run yet."""

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy.engine import Connection

from datamigrate.database.ahead import ahead_of
from datamigrate.database.schema.applying import apply_on
from datamigrate.database.schema.upgrade import revisions_to
from datamigrate.doing.previewing import Expedition, Preview, Unseen, look_ahead
from datamigrate.doing.rehearsal import RehearsalLimits
from datamigrate.faces.app import Application
from datamigrate.faces.journey import remembered
from datamigrate.faces.situation import Situation
from datamigrate.thought.interleaving import Journey, Revision, interleave
from datamigrate.thought.planner import TO_DO, Action, Step
from datamigrate.words.errors import DatabaseUnavailable, GraphError, UsageError


def cannot_run_yet(situation: Situation) -> list[Step]:
    """The steps that wait for a revision or for another migration."""
    return [
        s for s in situation.plan.steps if s.action is Action.BLOCKED or (s.action in TO_DO and s.waits_for)
    ]


def not_looked(situation: Situation) -> Preview:
    """Without --through, each that cannot run yet with the reason."""
    return Preview(unseen=tuple(Unseen(s.migration.name, _why(s)) for s in cannot_run_yet(situation)))


async def look_through(application: Application, situation: Situation, limits: RehearsalLimits) -> Preview:
    """Preview every step that cannot run yet. What stays behind an obstacle is named with it."""
    steps = cannot_run_yet(situation)
    if not steps:
        return Preview()
    wanted = frozenset(step.migration.name for step in steps)
    whole = await application.situation()
    try:
        journey = _journey(application, whole, steps)
        async with ahead_of(situation.whereabouts.address, limits.timeouts) as ahead:
            preview = await look_ahead(ahead, _expedition(application, whole, journey, wanted), limits)
    except (GraphError, UsageError, DatabaseUnavailable) as error:
        return Preview(unseen=tuple(Unseen(name, error.message) for name in sorted(wanted)))
    left = [Unseen(s.migration.name, _why(s)) for s in journey.left if s.migration.name in wanted]
    return replace(preview, unseen=(*preview.unseen, *left))


def _expedition(
    application: Application, whole: Situation, journey: Journey, wanted: frozenset[str]
) -> Expedition:
    history, environment = application.project.history, whole.whereabouts.environment

    def apply(connection: Connection, revision: str, met: list[str]) -> None:
        apply_on(connection, history, environment, revision, met)

    scripts = {script.name: script for script in whole.library.scripts}
    return Expedition(journey.legs, wanted, scripts, apply)


def _journey(application: Application, whole: Situation, steps: Iterable[Step]) -> Journey:
    """The shortest way to the steps. Raises GraphError when schema and data wait for each other."""
    history, schema = application.project.history, whole.schema
    ahead: dict[str, Revision] = {}
    for name in _with_dependencies(whole, [step.migration.name for step in steps]):
        for target in whole.revisions[name].requires:
            if target not in schema.applied:
                ahead |= {r.id: r for r in revisions_to(history, schema.heads, target) if r.id not in ahead}
    done = remembered(whole, whole.library)
    return interleave(tuple(ahead.values()), schema.applied, whole.plan, whole.revisions, done)


def _with_dependencies(whole: Situation, names: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in found and name in whole.revisions:
            found[name] = None
            script = whole.library.named(name)
            queue += script.migration.depends_on if script else ()
    return list(found)


def _why(step: Step) -> str:
    waits = f"waits for {', '.join(step.waits_for)}"
    return f"it {waits if step.action in TO_DO else step.reason}"
