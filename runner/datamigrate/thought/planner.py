"""What `run` would do, in order, and why not: decided from plain data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from datamigrate.thought.graph import in_order
from datamigrate.thought.lifecycle import HALTED, Standing, State, way_on
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


TO_DO = frozenset({Action.RUN, Action.RESUME})
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
    """What the ledger remembers of a migration; `begun` when a run has ever worked on it, how it came to
    its state, and how many rows it has set aside."""

    state: State
    checksum: str
    rows: int = 0
    begun: bool = True
    standing: Standing | None = None
    quarantined: int = 0


@dataclass(frozen=True)
class Step:
    """One migration's place in the plan; a finished one may have rows `quarantined`."""

    migration: Migration
    action: Action
    reason: str
    waits_for_revisions: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    quarantined: int = 0

    def facts(self) -> dict[str, Any]:
        """The step as plain data, for JSON."""
        return {
            "name": self.migration.name,
            "action": str(self.action),
            "reason": self.reason,
            "waits_for_revisions": list(self.waits_for_revisions),
            "waits_for": list(self.waits_for),
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

    def having(self, action: Action) -> tuple[Step, ...]:
        """The steps with this action."""
        return tuple(step for step in self.steps if step.action is action)


def make_plan(
    migrations: Iterable[Migration],
    revisions: Mapping[str, Revisions],
    schema: Schema,
    ledger: Mapping[str, Record],
) -> Plan:
    """The plan for these scripts on this schema with this ledger.

    Order: dependencies, then the schema history, then the file name. Raises GraphError for a cycle.
    """
    everyone = list(migrations)

    def rank(migration: Migration) -> tuple[int, str]:
        required = revisions[migration.name].requires
        return max((schema.order.get(r, 0) for r in required), default=-1), migration.file.name

    steps: dict[str, Step] = {}
    for migration in in_order(everyone, rank):
        steps[migration.name] = _step(migration, revisions[migration.name], schema, ledger, steps)
    gone = tuple(sorted(name for name in ledger if name not in steps))
    return Plan(tuple(steps.values()), schema.heads, gone)


def _step(
    migration: Migration,
    revisions: Revisions,
    schema: Schema,
    ledger: Mapping[str, Record],
    before: Mapping[str, Step],
) -> Step:
    record = ledger.get(migration.name)
    if record and record.state is State.DONE:
        return _finished(migration, record)
    if ended := [r for r in revisions.until if r in schema.applied]:
        return Step(migration, Action.OBSOLETE, f"revision {ended[0]} has dropped what it reads")
    if halt := _halt(migration, record):
        return Step(migration, Action.HALTED, f"{halt}; `{way_on(migration.name, halt.state)}`")
    if missing := tuple(r for r in revisions.requires if r not in schema.applied):
        reason = f"needs revision {', '.join(missing)}, which is not applied"
        return Step(migration, Action.BLOCKED, reason, waits_for_revisions=missing)
    if unmet := tuple(d for d in migration.depends_on if not _is_settled(d, before, ledger)):
        return _after_others(migration, record, unmet, before)
    return _workable(migration, record)


def _halt(migration: Migration, record: Record | None) -> Standing | None:
    if record is None:
        return Standing(State.HELD) if migration.options.hold else None
    return (record.standing or Standing(record.state)) if record.state in HALTED else None


def _finished(migration: Migration, record: Record) -> Step:
    if record.checksum == migration.checksum:
        aside = f", {record.quarantined:,} quarantined" if record.quarantined else ""
        return Step(migration, Action.DONE, f"{record.rows:,} rows{aside}", quarantined=record.quarantined)
    edited = "the script was edited after it was done"
    return Step(migration, Action.DRIFTED, edited, quarantined=record.quarantined)


def _is_settled(name: str, before: Mapping[str, Step], ledger: Mapping[str, Record]) -> bool:
    if step := before.get(name):
        return step.action in SETTLED
    return name in ledger and ledger[name].state is State.DONE


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
