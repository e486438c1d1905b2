"""What became of one step of a run."""

from dataclasses import dataclass
from typing import Any

from datamigrate.words.errors import DatamigrateError


@dataclass(frozen=True)
class Result:
    """What became of one step: `done` (with so many rows `quarantined`), `stopped`, `failed` (with its error),
    or `skipped` and why."""

    name: str
    outcome: str
    error: DatamigrateError | None = None
    reason: str = ""
    quarantined: int = 0

    def facts(self) -> dict[str, Any]:
        """The result as plain data, for JSON."""
        facts: dict[str, Any] = {"name": self.name, "outcome": self.outcome}
        if self.error:
            facts |= {"error": self.error.message, "hint": self.error.hint}
        if self.outcome == "done":
            facts["quarantined"] = self.quarantined
        return facts | ({"reason": self.reason} if self.reason else {})
