"""What a data migration is, apart from how it does its work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KeyValue = Any
"""One column of a key, as the driver gives it."""

Key = tuple[KeyValue, ...]
"""The key of one row: a value for each key column, in order."""


@dataclass(frozen=True)
class Bounds:
    """A slice of the key space: after `lower` (None: from the first row) up to and with `upper`."""

    lower: Key | None
    upper: Key

    @property
    def numbers(self) -> int | None:
        """How many whole numbers lie in it; None where its ends are none."""
        if self.lower is None or [type(v) for v in (*self.lower, *self.upper)] != [int, int]:
            return None
        (lower,), (upper,) = self.lower, self.upper
        return int(upper - lower)


@dataclass(frozen=True)
class Options:
    """How an author wants the work done; None leaves it to the configuration.

    `batch_size` is in rows; `target_time`, the wanted length of one batch's transaction, and
    `max_pause`, the longest sleep between two batches, are in seconds; `concurrency` is the number of
    asynchronous computations at a time; the values of `mask` columns are never shown; with `hold` no run
    begins it before an operator approves; with `undo_log` what it changes is kept, and can be put back. `window`
    are the times of the week at which it may be worked on, `schedule` those at which it is due again, both as
    they were written.

    With `quarantines` a row that fails by itself is set aside, up to `max_quarantined` of them, and with
    `quarantine_values` what it holds is kept beside its key.
    """

    batch_size: int | None = None
    target_time: float | None = None
    max_pause: float | None = None
    concurrency: int = 10
    mask: frozenset[str] = frozenset()
    hold: bool = False
    undo_log: bool = False
    quarantines: bool = False
    max_quarantined: int = 100
    quarantine_values: bool = False
    window: str | None = None
    schedule: str | None = None


@dataclass(frozen=True)
class Migration:
    """The identity of one script: who it is and what it stands on.

    `requires` and `until` are Alembic revisions as the author wrote them; `until` names the revision
    that drops what the script reads, after which there is nothing left to do.
    """

    name: str
    file: Path
    title: str
    requires: tuple[str, ...]
    depends_on: tuple[str, ...]
    until: tuple[str, ...]
    tags: frozenset[str]
    kind: str
    checksum: str
    options: Options = field(default_factory=Options)

    def facts(self) -> Mapping[str, Any]:
        """The identity as plain data, for JSON."""
        return {
            "name": self.name,
            "file": str(self.file),
            "title": self.title,
            "kind": self.kind,
            "requires": list(self.requires),
            "until": list(self.until),
            "depends_on": list(self.depends_on),
            "tags": sorted(self.tags),
            "checksum": self.checksum,
        }
