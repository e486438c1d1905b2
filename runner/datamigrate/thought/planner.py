"""What `run` would do, in order, and why not: decided from plain data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from datamigrate.thought.agenda import UNSCHEDULED, Agenda, Recurrence, Turn
from datamigrate.thought.graph import in_order
from datamigrate.thought.lifecycle import HALTED, Standing, State, way_on
from datamigrate.thought.window import told
from datamigrate.words.migration import Migration


class Action(StrEnum):
    """What `run` would do with a data migration."""

    RUN = "run"
    RESUME = "resume"
    DONE = "done"
    BLOCKED = "blocked"
    DRIFTED = "drifted"
    OBSOLETE = "obsolete"
    HALTED = "halted"
    SCHEDULED = "scheduled"
    WAITING = "waiting"


TO_DO = frozenset({Action.RUN, Action.RESUME})
LATER = frozenset({Action.SCHEDULED, Action.WAITING})
SETTLED = frozenset({Action.DONE, Action.DRIFTED, Action.OBSOLETE})


@dataclass(frozen=True)
class Revisions:
    """A script's revisions as Alembic resolves them: all ancestors are implied."""

    requires: tuple[str, ...]
    until: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """The schema as far as planning needs it.

    `applied` is the ancestor closure of the database's heads, `depends_on` included; `order` gives
    every revision its place in history, base first.
    """

    heads: tuple[str, ...]
    applied: frozenset[str]
    order: Mapping[str, int]


@dataclass(frozen=True)
class Record:
    """What the ledger remembers of a migration; `begun` when a run has ever worked on it, how it came to its
    state, what is known of its schedule, and how many rows it has set aside."""

    state: State
    checksum: str
    rows: int = 0
    begun: bool = True
    standing: Standing | None = None
    recurrence: Recurrence = UNSCHEDULED
    quarantined: int = 0


@dataclass(frozen=True)
class Step:
    """One migration's place in the plan.

    `due` is the due time whose occurrence a run has to begin first; `at` is when one that is `scheduled` or
    `waiting` may run; `done_before` when an earlier occurrence of one that is scheduled was completed.
    A finished one may have rows `quarantined`.
    """

    migration: Migration
    action: Action
    reason: str
    waits_for_revisions: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    due: datetime | None = None
    at: datetime | None = None
    done_before: bool = False
    quarantined: int = 0

    @property
    def is_settled(self) -> bool:
        """Whether those that depend on it may go on."""
        return self.action in SETTLED or self.done_before

    def facts(self) -> dict[str, Any]:
        """The step as plain data, for JSON."""
        return {
            "name": self.migration.name,
            "action": str(self.action),
            "reason": self.reason,
            "waits_for_revisions": list(self.waits_for_revisions),
            "waits_for": list(self.waits_for),
            "due": self.due.isoformat() if self.due else None,
            "may_run_at": self.at.isoformat() if self.at else None,
            "file": str(self.migration.file),
        }


@dataclass(frozen=True)
class Plan:
    """Every migration once, in the order in which `run` would take them."""

    steps: tuple[Step, ...]
    heads: tuple[str, ...] = ()
    gone: tuple[str, ...] = field(default=())

    @property
    def to_do(self) -> tuple[Step, ...]:
        """The steps that `run` would work on."""
        return tuple(step for step in self.steps if step.action in TO_DO)

    @property
    def ahead(self) -> tuple[Step, ...]:
        """The steps that `run` would work on, now or later by itself."""
        return tuple(step for step in self.steps if step.action in TO_DO | LATER)

    def having(self, action: Action) -> tuple[Step, ...]:
        """The steps with this action."""
        return tuple(step for step in self.steps if step.action is action)


def make_plan(
    migrations: Iterable[Migration],
    revisions: Mapping[str, Revisions],
    schema: Schema,
    ledger: Mapping[str, Record],
    agenda: Agenda | None = None,
) -> Plan:
    """The plan for these scripts on this schema with this ledger, at the moment of the agenda.

    Order: dependencies, then the schema history, then the file name. Raises GraphError for a cycle.
    """
    everyone, agenda = list(migrations), agenda or Agenda()

    def rank(migration: Migration) -> tuple[int, str]:
        required = revisions[migration.name].requires
        return max((schema.order.get(r, 0) for r in required), default=-1), migration.file.name

    steps: dict[str, Step] = {}
    for migration in in_order(everyone, rank):
        steps[migration.name] = _step(migration, revisions[migration.name], schema, ledger, steps, agenda)
    gone = tuple(sorted(name for name in ledger if name not in steps))
    shown = (s for s in steps.values() if s.migration.options.schedule or not agenda.only_due)
    return Plan(tuple(shown), schema.heads, gone)


def _step(
    migration: Migration,
    revisions: Revisions,
    schema: Schema,
    ledger: Mapping[str, Record],
    before: Mapping[str, Step],
    agenda: Agenda,
) -> Step:
    record = ledger.get(migration.name)
    turn = agenda.turn(migration, _recurrence(record) if record else UNSCHEDULED)
    if record and record.state is State.DONE and turn is None:
        return _finished(migration, record)
    due = _due(turn, record)
    return (
        _hindered(migration, record, revisions, schema)
        or _later(migration, record, turn, due, agenda)
        or _now(migration, record, _unmet(migration, before, ledger), before, turn, due)
    )


def _hindered(
    migration: Migration, record: Record | None, revisions: Revisions, schema: Schema
) -> Step | None:
    if ended := [r for r in revisions.until if r in schema.applied]:
        return Step(migration, Action.OBSOLETE, f"revision {ended[0]} has dropped what it reads")
    if halt := _halt(migration, record):
        return Step(migration, Action.HALTED, f"{halt}; `{way_on(migration.name, halt.state)}`")
    if missing := tuple(r for r in revisions.requires if r not in schema.applied):
        reason = f"needs revision {', '.join(missing)}, which is not applied"
        return Step(migration, Action.BLOCKED, reason, waits_for_revisions=missing)
    return None


def _later(
    migration: Migration, record: Record | None, turn: Turn | None, due: datetime | None, agenda: Agenda
) -> Step | None:
    is_at_rest = record is None or record.state in (State.DONE, State.PENDING)
    if turn and is_at_rest and due is None and not turn.is_open:
        done = record is not None and record.state is State.DONE
        reason = f"next {told(turn.next, turn.zone)}"
        return Step(migration, Action.SCHEDULED, reason, at=turn.next, done_before=done)
    if why := _left_alone(migration, record, due, agenda):
        return Step(migration, Action.HALTED, why)
    if window := agenda.shut(migration):
        opens = window.opens(agenda.now)
        reason = f"outside its window {window}, which opens {told(opens, window.zone)}"
        return Step(migration, Action.WAITING, reason, at=opens)
    return None


def _now(
    migration: Migration,
    record: Record | None,
    unmet: tuple[str, ...],
    before: Mapping[str, Step],
    turn: Turn | None,
    due: datetime | None,
) -> Step:
    step = _after_others(migration, record, unmet, before) if unmet else _workable(migration, record)
    if turn is None or due is None or step.action not in TO_DO:
        return step
    after = f", after {', '.join(unmet)}" if unmet else ""
    return replace(step, action=Action.RUN, reason=f"{turn.why}{after}", due=due)


def _recurrence(record: Record) -> Recurrence:
    """What is known of its schedule; one that was held until now has missed nothing."""
    known, moved = record.recurrence, record.standing.at if record.standing else None
    if record.state is State.PENDING and known.due is None and known.since and moved:
        return replace(known, since=max(known.since, moved))
    return known


def _due(turn: Turn | None, record: Record | None) -> datetime | None:
    """The due time whose occurrence is to be begun: not while the one before is on its way, unless that has
    failed."""
    if turn is None:
        return None
    if record is None or record.state in (State.DONE, State.FAILED):
        return turn.due
    return turn.due if record.state is State.PENDING and not turn.is_open else None


def _left_alone(
    migration: Migration, record: Record | None, due: datetime | None, agenda: Agenda
) -> str | None:
    if agenda.only_due and not migration.options.schedule:
        return "only what is scheduled is run"
    edited = record is not None and record.checksum != migration.checksum
    if record and record.state is State.FAILED and not (due or edited or agenda.retries_failed):
        return f"failed; `datamigrate retry {migration.name}`, or an edit, lets it go on"
    moved = record.standing.at if record and record.standing else None
    if agenda.spared.get(migration.name) == (migration.checksum, moved):
        return "it could not be begun; it is tried again later"
    return None


def _halt(migration: Migration, record: Record | None) -> Standing | None:
    if record is None:
        return Standing(State.HELD) if migration.options.hold else None
    return (record.standing or Standing(record.state)) if record.state in HALTED else None


def _finished(migration: Migration, record: Record) -> Step:
    if record.checksum == migration.checksum:
        aside = f", {record.quarantined:,} quarantined" if record.quarantined else ""
        return Step(migration, Action.DONE, f"{record.rows:,} rows{aside}", quarantined=record.quarantined)
    edited = (
        f"the script was edited after it was done; `datamigrate reset {migration.name}` walks it again, "
        f"`datamigrate stamp {migration.name}` accepts it"
    )
    return Step(migration, Action.DRIFTED, edited, quarantined=record.quarantined)


def _is_settled(name: str, before: Mapping[str, Step], ledger: Mapping[str, Record]) -> bool:
    if step := before.get(name):
        return step.is_settled
    return name in ledger and ledger[name].state is State.DONE


def _unmet(migration: Migration, before: Mapping[str, Step], ledger: Mapping[str, Record]) -> tuple[str, ...]:
    return tuple(d for d in migration.depends_on if not _is_settled(d, before, ledger))


def _after_others(
    migration: Migration, record: Record | None, unmet: tuple[str, ...], before: Mapping[str, Step]
) -> Step:
    stuck = tuple(d for d in unmet if d not in before or before[d].action not in TO_DO)
    if stuck:
        reason = f"depends on {', '.join(stuck)}, which cannot run yet"
        return Step(migration, Action.BLOCKED, reason, waits_for=stuck)
    step = _workable(migration, record)
    return Step(migration, step.action, f"{step.reason}, after {', '.join(unmet)}", waits_for=unmet)


def _workable(migration: Migration, record: Record | None) -> Step:
    if record is None or (record.state is State.PENDING and not record.rows):
        return Step(migration, Action.RUN, "pending again" if record and record.begun else "never run")
    edited = (
        ", edited since: starts again from the first row" if record.checksum != migration.checksum else ""
    )
    return Step(migration, Action.RESUME, f"{record.state} after {record.rows:,} rows{edited}")
