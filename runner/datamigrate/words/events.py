"""What happens during a run, told once: progress bar, log and JSON are subscribers to these."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened to one data migration."""

    migration: str

    def facts(self) -> dict[str, Any]:
        """The event as plain data, its kind first."""
        return {"event": type(self).__name__} | {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Started(Event):
    """Work begins or goes on; `rows` are done already, `estimate` are thought to be pending, if that is known yet."""

    rows: int
    estimate: int | None
    estimate_source: str
    resumed: bool


@dataclass(frozen=True)
class Counted(Event):
    """What was counted while work had begun: `rows` are done by now, `estimate` are thought to be pending still."""

    rows: int
    estimate: int
    estimate_source: str


@dataclass(frozen=True)
class BatchDone(Event):
    """One batch is committed: `rows` changed in it, `left_alone` by the script's own choice.

    `batch` and `total`, in rows, count over all ranges that this process knows of; `range` is the number
    of the one that the batch is of, and so many `workers` of this process were at work.
    """

    batch: int
    rows: int
    left_alone: int
    seconds: float
    total: int
    size: int
    last_key: str
    range: int = 0
    workers: int = 1


@dataclass(frozen=True)
class Retrying(Event):
    """A passing fault: the batch was rolled back, and is tried again shortly."""

    reason: str


@dataclass(frozen=True)
class Waiting(Event):
    """Somebody else holds the claim."""

    holder: str


@dataclass(frozen=True)
class HeldBack(Event):
    """No batch begins for now, and why: the database is not well, or the time is not right. Told again while
    that lasts, with how many `seconds` it has lasted."""

    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class WentOn(Event):
    """What held it back for so many seconds holds it back no more."""

    seconds: float


@dataclass(frozen=True)
class Alone(Event):
    """So many workers were asked for, and one will do it, and why."""

    workers: int
    reason: str


@dataclass(frozen=True)
class Retuned(Event):
    """An operator has set another pace, or taken it back (an empty one)."""

    tuning: str


@dataclass(frozen=True)
class MadeRoom(Event):
    """Others are at work in the database, and it goes slowly in small batches while they are; without a `reason`:
    they are no longer, and it goes on at full speed."""

    reason: str


@dataclass(frozen=True)
class Quarantined(Event):
    """The row with this key fails by itself and was set aside, the `total`-th; everything else goes on."""

    key: str
    error: str
    total: int


@dataclass(frozen=True)
class Released(Event):
    """So many rows have left the quarantine, since somebody has mended or deleted them; `sample` are keys."""

    rows: int
    sample: str


@dataclass(frozen=True)
class FoundDone(Event):
    """Another run has done it meanwhile."""


@dataclass(frozen=True)
class Verifying(Event):
    """The ranges are exhausted; a fresh look for pending rows begins."""


@dataclass(frozen=True)
class Sweeping(Event):
    """Pending rows were found after the walk, so it is walked again."""

    sweep: int
    sample: str


@dataclass(frozen=True)
class Finished(Event):
    """Verified complete, apart from the rows that are `quarantined`. Of the `rows`, so many were done `before`
    the run that took these seconds."""

    rows: int
    left_alone: int
    seconds: float
    quarantined: int = 0
    before: int = 0


@dataclass(frozen=True)
class Reverted(Event):
    """Undone: `rows` are as they were, so many of them `before` the run that took these seconds, and `changed`
    were changed by somebody since and stay as they are."""

    rows: int
    changed: int
    seconds: float
    before: int = 0


@dataclass(frozen=True)
class Stopped(Event):
    """Stopped cleanly between two batches, why, and what lets it go on."""

    rows: int
    reason: str
    then: str = "run again to go on"


@dataclass(frozen=True)
class Failed(Event):
    """Stopped by an error; everything before the failing batch is kept."""

    reason: str


@dataclass(frozen=True)
class Stalled(Event):
    """Somebody is at work on it, and no batch was done for so many seconds; the reason, where one is known."""

    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Undelivered(Event):
    """A notice did not reach a sink, and why."""

    sink: str
    reason: str


@dataclass(frozen=True)
class SchemaApplied(Event):
    """Alembic has applied these revisions."""

    revisions: tuple[str, ...]


Publish = Callable[[Event], None]
"""Where events go. A subscriber must not block."""


def publish_to(*subscribers: Publish) -> Publish:
    """One place to publish to that hands every event to all subscribers in order."""

    def publish(event: Event) -> None:
        for subscriber in subscribers:
            subscriber(event)

    return publish
