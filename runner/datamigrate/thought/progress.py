"""Rate, share and time to go, from counts and seconds."""

import math
from dataclasses import dataclass

HORIZON = 10.0
"""Seconds over which a rate is smoothed."""

MOMENT = 1e-6
"""Seconds too few to tell a rate from."""


@dataclass(frozen=True)
class Progress:
    """How far a migration is; `rate` is in rows per second, smoothed over the latest `span` of seconds."""

    done: int
    estimate: int | None = None
    rate: float = 0.0
    span: float = 0.0

    @property
    def total(self) -> int | None:
        """The rows to be done in all; never less than what is done already."""
        return None if self.estimate is None else max(self.estimate, self.done)

    @property
    def share(self) -> float | None:
        """The part done, 0 to 1, or None when nobody can say."""
        return self.done / self.total if self.total else None

    @property
    def eta(self) -> float | None:
        """Seconds to go, or None when nobody can say."""
        if self.total is None or not self.rate:
            return None
        return (self.total - self.done) / self.rate


def after_batch(progress: Progress, rows: int, seconds: float) -> Progress:
    """The progress when `rows` were done within `seconds`: the batch, and the rest before it."""
    kept = math.exp(-seconds / HORIZON) * progress.span
    span = kept + seconds
    rate = (kept * progress.rate + rows) / span if span > MOMENT else progress.rate
    return Progress(progress.done + rows, progress.estimate, rate, span)
