"""A batch at which the process dies, each time: it is halved with every further claim, until one row is left.

A claim counts itself as an attempt, a checkpoint and a clean end take the count back. So a healthy run pays
nothing for it, and whoever comes after a process that was killed finds how many were before.
"""

from dataclasses import dataclass

from datamigrate.thought.codec import show_key
from datamigrate.thought.pacing import Pace, halved
from datamigrate.words.claim import Claim
from datamigrate.words.errors import RowFailed
from datamigrate.words.migration import Key
from datamigrate.words.rows import human_rows

BATCHES = 4
"""Batches of half the size that cover the fatal one, and what may have been read ahead behind it."""


@dataclass(frozen=True)
class Caution:
    """For so many `batches` more the pace does not grow and nothing is read ahead; `attempts` is what the
    ledger keeps meanwhile, so that another death halves the batch at once."""

    batches: int = 0
    attempts: int = 0

    def __bool__(self) -> bool:
        return self.batches > 0

    def after_batch(self) -> "Caution":
        """What is left of it when a batch has gone well."""
        return Caution(self.batches - 1, self.attempts) if self.batches > 1 else Caution()


def is_fatal(claim: Claim, max_deaths: int) -> bool:
    """Whether so many have died since the last checkpoint that the batch must be at fault."""
    return claim.attempts > max_deaths and not claim.exhausted


def smaller(claim: Claim, first_rows: int) -> Pace | None:
    """Half the batch that was fatal; None when that was one row."""
    pace = Pace(claim.size, claim.span) if claim.size else Pace(first_rows, first_rows)
    return halved(pace) if pace.rows > 1 else None


def why_smaller(claim: Claim, pace: Pace) -> str:
    """What to tell of it."""
    return f"{claim.attempts - 1} processes have died at this batch: now with {human_rows(pace.rows)}"


def fatal(claim: Claim, key: Key | None = None) -> RowFailed:
    """The error of a row, or else of what is left of a range, at which the process dies."""
    row = f"Row {show_key(key)}: " if key else ""
    return RowFailed(
        f"{row}the process that works on it dies or is killed: {claim.attempts - 1} have been, without a word",
        "Look at the system's log for what killed them (out of memory?), and mend the script or this row.",
        key,
    )
