"""How large the next batch is: a closed loop on the time that the last one took.

A batch ends at whichever comes first: `rows` pending rows, or `span` keys looked at. The first bounds
the work and the locks where pending rows are dense, the second bounds the search where they are sparse.
"""

from dataclasses import dataclass, replace

GROWTH = 2.0
SHRINK = 0.25
SPAN_OF_ROWS = 4


@dataclass(frozen=True)
class Limits:
    """Within what a pace may move; `target_time` is in seconds."""

    target_time: float = 0.5
    min_rows: int = 1
    max_rows: int = 100_000
    max_span: int = 2_000_000


@dataclass(frozen=True)
class Pace:
    """The size of the next batch: at most `rows` pending rows out of at most `span` keys."""

    rows: int
    span: int


def first_pace(rows: int) -> Pace:
    """Where to start: small, since nothing is known yet."""
    return Pace(rows, rows * SPAN_OF_ROWS)


def next_pace(pace: Pace, seconds: float, full: bool, limits: Limits) -> Pace:
    """The pace after a batch that took `seconds`; `full` when `rows` ended it and not `span`."""
    factor = _factor(seconds, limits.target_time)
    if full:
        rows = _within(pace.rows * factor, limits.min_rows, limits.max_rows)
        # a span that is not what ends batches shrinks, so that a denser stretch finds it small again
        span = min(pace.span, max(rows * SPAN_OF_ROWS * 2, pace.span // 2))
        return Pace(rows, _within(span, rows, limits.max_span))
    rows = pace.rows if factor >= 1 else _within(pace.rows * factor, limits.min_rows, limits.max_rows)
    return Pace(rows, _within(pace.span * factor, rows, max(limits.max_span, rows)))


def after_timeout(pace: Pace, limits: Limits) -> Pace:
    """The pace after a batch that the database cut off: half of it, at once."""
    rows = max(1, min(pace.rows // 2, limits.max_rows))
    return Pace(rows, max(rows, pace.span // 2))


def is_smallest(pace: Pace) -> bool:
    """True when there is nothing left to halve."""
    return pace.rows <= 1 and pace.span <= 1


def fixed(limits: Limits, rows: int) -> Limits:
    """Limits under which a batch has this many rows, whatever the clock says, and halves on a timeout."""
    return replace(limits, min_rows=rows, max_rows=rows)


def _factor(seconds: float, target: float) -> float:
    # the square root damps the answer to one slow or quick batch, so that the size settles
    # instead of swinging; far off the target it may move by the full factor
    ratio = target / max(seconds, target / 1000)
    damped = ratio if ratio < SHRINK or ratio > GROWTH else ratio**0.5
    return min(GROWTH, max(SHRINK, damped))


def _within(value: float, low: int, high: int) -> int:
    return max(low, min(high, round(value)))
