"""Scripts, schema and ledger at one moment, and the plan that follows from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from datamigrate.authoring.script import Library, Script
from datamigrate.database.address import address
from datamigrate.database.ledger.records import LedgerView, MigrationRecord
from datamigrate.database.schema.history import History
from datamigrate.database.schema.revisions import resolve, schema_at
from datamigrate.faces.project import Project, Whereabouts
from datamigrate.thought.agenda import Agenda
from datamigrate.thought.graph import problems as graph_problems
from datamigrate.thought.graph import without_cycles
from datamigrate.thought.planner import Plan, Revisions, Schema, make_plan
from datamigrate.words.errors import DatamigrateError, GraphError, UnknownMigration


@dataclass(frozen=True)
class Situation:
    """Scripts, schema and ledger at one moment, and the plan that follows from them."""

    library: Library
    plan: Plan
    ledger: LedgerView
    problems: tuple[DatamigrateError, ...]
    whereabouts: Whereabouts
    schema: Schema
    revisions: Mapping[str, Revisions]
    agenda: Agenda = field(default_factory=Agenda)

    def record(self, name: str) -> MigrationRecord | None:
        """What the ledger knows of a migration."""
        return self.ledger.migrations.get(name)

    def script(self, name: str) -> Script:
        """The script of a migration. Raises UnknownMigration when only its record is left, or what is wrong
        with its file."""
        if script := self.library.named(name):
            return script
        if self.problems:
            raise self.problems[0]
        raise UnknownMigration(
            f"The script of {name} is gone; only its record is left.", "Restore the file to work on it."
        )


def situate(
    project: Project,
    library: Library,
    heads: tuple[str, ...],
    view: LedgerView,
    whereabouts: Whereabouts,
    names: Sequence[str] = (),
    tags: Sequence[str] = (),
    agenda: Agenda | None = None,
) -> Situation:
    """The situation of a database at these heads with this ledger; the plan is narrowed to the names and
    tags, and what they depend on. Raises RevisionUnknown, UnknownMigration."""
    schema = schema_at(project.history, heads)
    revisions, unresolved = _resolve_all(project.history, library)
    usable = [script.migration for script in library.scripts if script.name in revisions]
    unfit = graph_problems(usable, frozenset({*view.migrations, *(s.name for s in library.scripts)}))
    problems = (*library.problems, *unresolved, *unfit)
    agenda = replace(agenda or Agenda(view.at), timetable=project.configuration.timetable)
    plan = make_plan(without_cycles(usable), revisions, schema, view.for_planning(), agenda)
    _refuse_unknown_tags(tags, library, problems)
    _refuse_unknown(names, [*(s.name for s in library.scripts), *view.migrations], problems)
    narrowed = _narrowed(plan, names, tags)
    return Situation(library, narrowed, view, problems, whereabouts, schema, revisions, agenda)


def from_scratch(history: History, situation: Situation) -> Plan:
    """The plan of an empty database."""
    usable = [s.migration for s in situation.library.scripts if s.name in situation.revisions]
    agenda = replace(situation.agenda, only_due=False)
    return make_plan(without_cycles(usable), situation.revisions, schema_at(history, ()), {}, agenda)


def unplaced(project: Project) -> Situation:
    """The situation without any database: nothing applied, nothing done."""
    nowhere = Whereabouts(address("sqlite:///nowhere", "", project.root), None)
    return situate(project, project.library(), (), LedgerView(), nowhere)


def _resolve_all(history: History, library: Library) -> tuple[dict[str, Revisions], list[DatamigrateError]]:
    revisions: dict[str, Revisions] = {}
    problems: list[DatamigrateError] = []
    for script in library.scripts:
        try:
            revisions[script.name] = resolve(history.script, script.migration)
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
