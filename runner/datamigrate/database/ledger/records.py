"""What the ledger tells: plain data, read in one go."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from datamigrate.database.ledger.undo import UndoSize
from datamigrate.thought.agenda import UNSCHEDULED, Recurrence
from datamigrate.thought.lifecycle import Standing, State
from datamigrate.thought.planner import Record
from datamigrate.thought.tuning import UNTUNED, Tuning
from datamigrate.words.claim import Tally


@dataclass(frozen=True)
class RangeRecord:
    """One range of a migration; `cursor` and `upper` as tagged JSON; its `owner` for people, who is known by the
    `identity`."""

    migration: str
    number: int
    cursor: str | None
    upper: str | None
    exhausted: bool
    sweep: int
    tally: Tally
    size: int
    seconds: float
    owner: str | None
    heartbeat: datetime | None
    attempts: int = 0
    identity: str | None = None


@dataclass(frozen=True)
class MigrationRecord:
    """One migration, with its ranges."""

    name: str
    state: State
    checksum: str
    requires: tuple[str, ...]
    file: str
    estimate: int | None
    estimate_source: str | None
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    moved_by: str | None = None
    moved_at: datetime | None = None
    tuning: Tuning = UNTUNED
    waiting: str | None = None
    waiting_since: datetime | None = None
    ranges: tuple[RangeRecord, ...] = ()
    undo: UndoSize | None = None
    recurrence: Recurrence = UNSCHEDULED
    quarantined: int = 0

    @property
    def standing(self) -> Standing:
        """Its state, and how it came there."""
        return Standing(self.state, self.moved_by, self.moved_at, self.reason)

    @property
    def rows(self) -> int:
        """Rows changed, over all ranges."""
        return sum(r.tally.rows for r in self.ranges)

    @property
    def left_alone(self) -> int:
        """Rows that the script chose to leave alone, over all ranges."""
        return sum(r.tally.left_alone for r in self.ranges)

    @property
    def rate(self) -> float | None:
        """Rows a second, rests included, of all workers together, or None before the first batch."""
        at_work = [r for r in self.ranges if r.owner and r.seconds]
        if at_work:
            return sum(r.tally.rows / r.seconds for r in at_work)
        seconds = sum(r.seconds for r in self.ranges)
        return self.rows / seconds if seconds else None

    @property
    def owners(self) -> tuple[str, ...]:
        """Who holds a claim on it."""
        return tuple(r.owner for r in self.ranges if r.owner)

    def for_planning(self) -> Record:
        """What the planner needs of it."""
        begun = self.started_at is not None
        recurs = self.recurrence
        return Record(self.state, self.checksum, self.rows, begun, self.standing, recurs, self.quarantined)


@dataclass(frozen=True)
class Orders:
    """What a worker reads after every batch: where the migration stands, and the pace that is wanted."""

    standing: Standing
    tuning: Tuning = UNTUNED


@dataclass(frozen=True)
class RunRecord:
    """One call of `datamigrate run`; no outcome means that it is going on, or was killed."""

    id: int
    owner: str
    version: str
    arguments: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    exit: int | None


@dataclass(frozen=True)
class TransitionRecord:
    """One move of a migration from a state to another."""

    migration: str
    before: str
    after: str
    cause: str
    reason: str | None
    owner: str
    at: datetime


@dataclass(frozen=True)
class OccurrenceRecord:
    """One occurrence of a recurring migration; no outcome means that it is open."""

    migration: str
    due_at: datetime
    begun_at: datetime
    finished_at: datetime | None
    outcome: str | None
    rows: int | None


@dataclass(frozen=True)
class LedgerView:
    """The whole ledger at one moment, `at` by the database's clock; empty where there is none yet."""

    migrations: dict[str, MigrationRecord] = field(default_factory=dict)
    exists: bool = False
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def for_planning(self) -> dict[str, Record]:
        """What the planner needs of it."""
        return {name: record.for_planning() for name, record in self.migrations.items()}


def as_facts(record: Any) -> dict[str, Any]:
    """A record as plain data for JSON, with times in ISO 8601."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in vars(record).items()
        if name not in ("ranges", "undo", "identity")
    }
