"""What is kept of a row that fails by itself."""

from dataclasses import dataclass
from datetime import datetime

from datamigrate.words.migration import Key


@dataclass(frozen=True)
class Failing:
    """A row that failed by itself: its key, what was said and where, how often it was tried, and what it held,
    as JSON, where that is kept."""

    key: Key
    error: str
    attempts: int = 1
    held: str | None = None


@dataclass(frozen=True)
class SetAside(Failing):
    """A row in quarantine: who has put it there, and when it failed first and last."""

    owner: str = ""
    first_at: datetime | None = None
    last_at: datetime | None = None
