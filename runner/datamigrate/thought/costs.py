"""What the rest will cost, judged by samples that were tried twice.

A batch's time has a part that every batch takes, however few its rows, and a part for each row. The second
pass over a sample finds nothing to do, so it takes the first part only; what the first pass took longer was
for the rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from datamigrate.thought.pacing import Limits

MOST_QUICKER = 10
"""A row of a large batch is thought to be at most so many times quicker than one of a sample."""

ALONE = 2.0
"""A single sample has no spread: what it says may be so many times too little or too much."""


@dataclass(frozen=True)
class Timing:
    """A sample's rows, the seconds that its first pass took, and those of a pass that found nothing to do."""

    rows: int
    seconds: float
    idle: float = 0.0

    @property
    def per_row(self) -> float:
        """Seconds for each row, without what every batch takes."""
        return max(self.seconds - self.idle, self.seconds / MOST_QUICKER) / self.rows


@dataclass(frozen=True)
class Band:
    """A number that is not known exactly."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """The batches to come: how many of how many rows, and the seconds that all of them take.

    `seconds_per_batch` and `rows_per_second` are those of the samples, as measured.
    """

    batch_rows: int
    batches: int
    seconds_per_batch: float
    rows_per_second: float
    seconds: Band


def forecast(timings: Sequence[Timing], pending: int, limits: Limits, pause: float = 0.0) -> Forecast | None:
    """What is to come when so many rows are pending; None without a sample that had rows.

    The band's low end takes the quickest sample in batches as large as they will become, its high end
    the slowest sample in batches no larger than the samples were.
    """
    timings = [timing for timing in timings if timing.rows and timing.seconds]
    if not timings:
        return None
    rows = sum(timing.rows for timing in timings)
    seconds = sum(timing.seconds for timing in timings)
    per_row = sum(timing.per_row * timing.rows for timing in timings) / rows
    idle = sum(timing.idle for timing in timings) / len(timings)
    batch_rows = _batch_rows(per_row, idle, pending, limits)
    batches = math.ceil(pending / batch_rows)
    expected = pending * per_row + batches * idle
    low = min(expected, pending * min(t.per_row for t in timings) + batches * min(t.idle for t in timings))
    high = max(expected, pending * max(t.seconds / t.rows for t in timings))
    if len(timings) == 1:
        low, high = low / ALONE, high * ALONE
    pauses = batches * pause
    return Forecast(
        batch_rows,
        batches,
        seconds / len(timings),
        rows / seconds,
        Band(low + pauses, expected + pauses, high + pauses),
    )


def _batch_rows(per_row: float, idle: float, pending: int, limits: Limits) -> int:
    """Where the pace will settle: at the rows that take the target time."""
    rows = int(max(0.0, limits.target_time - idle) / per_row)
    return max(1, min(max(limits.min_rows, min(rows, limits.most)), pending))
