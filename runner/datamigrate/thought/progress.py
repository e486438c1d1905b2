"""Rate, share and time to go, from counts and seconds."""

from dataclasses import dataclass

SMOOTHING = 0.3


@dataclass(frozen=True)
class Progress:
    """How far a migration is; `rate` is in rows per second, smoothed over the latest batches."""

    done: int
    estimate: int | None = None
    rate: float = 0.0

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
    """The progress after a batch of `rows` that took `seconds`, pauses included."""
    now = rows / seconds if seconds > 0 else progress.rate
    rate = now if not progress.rate else SMOOTHING * now + (1 - SMOOTHING) * progress.rate
    return Progress(progress.done + rows, progress.estimate, rate)
