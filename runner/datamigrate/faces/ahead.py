"""`run --dry-run --through`: the way from where the database is to the migrations that cannot run yet."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sqlalchemy.engine import Connection

from datamigrate.database.ahead import ahead_of
from datamigrate.database.schema.applying import apply_on
from datamigrate.database.schema.upgrade import revisions_to
from datamigrate.doing.previewing import Expedition, Preview, Unseen, look_ahead
from datamigrate.doing.sampling import RehearsalLimits
from datamigrate.faces.app import Application
from datamigrate.faces.journey import remembered
from datamigrate.faces.situation import Situation
from datamigrate.thought.interleaving import Leg, Revision, SchemaLeg, interleave
from datamigrate.thought.planner import TO_DO, Action, Step
from datamigrate.words.errors import DatabaseUnavailable, DatamigrateError, GraphError, UsageError


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
    whole = await application.situation()
    route = _Route(application, whole)
    unseen = [Unseen(s.migration.name, why) for s in steps if (why := route.lead_to(s))]
    wanted = frozenset(s.migration.name for s in steps) - {one.name for one in unseen}
    try:
        async with ahead_of(situation.whereabouts.address, limits.timeouts) as ahead:
            preview = await look_ahead(ahead, _expedition(application, whole, route, wanted), limits)
    except DatabaseUnavailable as error:
        preview = Preview(unseen=tuple(Unseen(name, _clause(error)) for name in sorted(wanted)))
    return replace(preview, unseen=(*preview.unseen, *unseen))


@dataclass(eq=False)
class _Route:
    """The legs to one migration after another, no further each time than it needs."""

    application: Application
    whole: Situation
    legs: list[Leg] = field(default_factory=list)
    applied: set[str] = field(init=False)
    done: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.applied = set(self.whole.schema.applied)
        self.done = set(remembered(self.whole, self.whole.library))

    def lead_to(self, step: Step) -> str:
        """Add the legs to a migration; or else why none lead there."""
        name, whole = step.migration.name, self.whole
        if name in self.done:
            return ""
        needed = _with_dependencies(whole, name)
        try:
            journey = interleave(
                self._revisions(needed),
                frozenset(self.applied),
                whole.plan,
                whole.revisions,
                frozenset(self.done),
            )
        except (GraphError, UsageError) as error:
            return _clause(error)
        if name in {left.migration.name for left in journey.left}:
            return _why(step)
        for leg in journey.legs:
            if isinstance(leg, SchemaLeg):
                self.applied |= {revision.id for revision in leg.revisions}
            elif leg.opens or leg.name in needed:
                self.done.add(leg.name)
            else:
                continue
            self.legs.append(leg)
        return ""

    def _revisions(self, names: Iterable[str]) -> list[Revision]:
        history, heads = self.application.project.history, self.whole.schema.heads
        found: dict[str, Revision] = {}
        for target in (r for name in names for r in self.whole.revisions[name].requires):
            if target not in self.applied:
                found |= {r.id: r for r in revisions_to(history, heads, target) if r.id not in self.applied}
        return list(found.values())


def _expedition(
    application: Application, whole: Situation, route: _Route, wanted: frozenset[str]
) -> Expedition:
    history, environment = application.project.history, whole.whereabouts.environment

    def apply(connection: Connection, revision: str, met: list[str]) -> None:
        apply_on(connection, history, environment, revision, met)

    scripts = {script.name: script for script in whole.library.scripts}
    return Expedition(tuple(route.legs), wanted, scripts, apply)


def _with_dependencies(whole: Situation, name: str) -> list[str]:
    found: dict[str, None] = {}
    queue = [name]
    while queue:
        name = queue.pop()
        if name not in found and name in whole.revisions:
            found[name] = None
            script = whole.library.named(name)
            queue += script.migration.depends_on if script else ()
    return list(found)


def _clause(error: DatamigrateError) -> str:
    return f"{error.message} {error.hint}".strip().rstrip(".")


def _why(step: Step) -> str:
    waits = f"waits for {', '.join(step.waits_for)}"
    return f"it {waits if step.action in TO_DO else step.reason}"
