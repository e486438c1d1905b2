"""How large the next batch is: a closed loop on the time that the last one took.

A batch ends at whichever comes first: `rows` pending rows, or `span` keys looked at. The first bounds
the work and the locks where pending rows are dense, the second bounds the search where they are sparse.
Where nearly every row is pending the two are the same number, and nothing needs to be counted. Where besides keys are
numbered with few gaps, nothing needs to be looked for.
"""

import math
from dataclasses import dataclass, replace

GROWTH = 2.0
SHRINK = 0.25

DENSE = 0.5
"""A batch of as many keys as it may have rows is dense when at least this part of them was pending."""

FEW_GAPS = 0.9
"""Keys are numbered when at least this part of the whole numbers of a slice were keys of pending rows."""

SLACK = 1.25
"""How much wider a span is than the density of the last batch calls for."""

MOST_ROWS = 20_000
"""Of a batch, unless somebody says otherwise."""

NARROW = 8
"""A span of so many times the rows is given up slowly, a wider one by halves."""


@dataclass(frozen=True)
class Limits:
    """Within what a pace may move; `target_time` is in seconds. Without `max_rows` it is what suits the database."""

    target_time: float = 0.5
    min_rows: int = 1
    max_rows: int | None = None
    max_span: int = 2_000_000

    @property
    def most(self) -> int:
        """The most rows of a batch."""
        return MOST_ROWS if self.max_rows is None else self.max_rows

    @property
    def is_fixed(self) -> bool:
        """Whether somebody has said how many rows a batch has."""
        return self.min_rows == self.most

    def capped(self, rows: int, seconds: float = math.inf) -> "Limits":
        """The same with so many rows and seconds a batch at most, unless somebody has said how many rows."""
        if self.is_fixed:
            return self
        return replace(self, max_rows=min(self.most, rows), target_time=min(self.target_time, seconds))

    def suited(self, most: int) -> "Limits":
        """The same on a database that so many rows suit."""
        return replace(self, max_rows=most) if self.max_rows is None else self


@dataclass(frozen=True)
class Pace:
    """The size of the next batch: at most `rows` pending rows out of at most `span` keys. Where those are `numbered`,
    the span is one of whole numbers."""

    rows: int
    span: int
    numbered: bool = False


@dataclass(frozen=True)
class Batch:
    """What a batch was like: its pace, how many `seconds` it took, and how many pending rows it `found` in its slice,
    of so many whole `numbers` (None: its keys are none)."""

    pace: Pace
    seconds: float
    found: int
    numbers: int | None = None

    @property
    def is_numbered(self) -> bool:
        """Whether there was a pending row for nearly every number."""
        return self.numbers is not None and FEW_GAPS * self.numbers <= self.found <= self.numbers


def alike(last: Batch, pace: Pace) -> Batch:
    """What a batch of this pace will be like, if its rows and keys are like those of the last one."""
    share = pace.span / last.pace.span
    numbers = None if last.numbers is None else round(last.numbers * share)
    return Batch(pace, last.seconds * share, round(last.found * share), numbers)


def first_pace(rows: int) -> Pace:
    """Where to start: small, since nothing is known yet, and as if every row were pending."""
    return Pace(rows, rows)


def next_pace(batch: Batch, limits: Limits) -> Pace:
    """The pace after a batch like this."""
    pace, found = batch.pace, batch.found
    factor = _factor(batch.seconds, limits.target_time)
    # a fixed size that the database has cut off before is found again as quickly as the clock allows
    limits = replace(limits, min_rows=min(limits.min_rows, pace.rows))
    is_full = found >= (pace.rows * DENSE if pace.span <= pace.rows else pace.rows)
    if is_full:
        rows = _within(pace.rows * factor, limits.min_rows, limits.most)
        span = _within(_narrower(pace, rows), rows, max(limits.max_span, rows))
        return Pace(rows, span, batch.is_numbered and span == rows)
    rows = pace.rows if factor >= 1 else _within(pace.rows * factor, limits.min_rows, limits.most)
    wider = min(factor, max(1.0, SLACK * pace.rows / found)) if found else factor
    return Pace(rows, _within(pace.span * wider, rows, max(limits.max_span, rows)))


def fitted(pace: Pace, limits: Limits) -> Pace:
    """The pace within limits that are new."""
    rows = _within(pace.rows, limits.min_rows, limits.most)
    dense = pace.span <= pace.rows
    span = rows if dense else _within(pace.span, rows, max(limits.max_span, rows))
    return Pace(rows, span, pace.numbered and dense)


def after_timeout(pace: Pace, limits: Limits) -> Pace:
    """The pace after a batch that the database cut off: half of it, at once."""
    rows = max(1, min(pace.rows // 2, limits.most))
    return Pace(rows, max(rows, pace.span // 2))


def halved(pace: Pace) -> Pace:
    """Half the rows, so that two such batches have all that one had before."""
    return Pace((pace.rows + 1) // 2, pace.span)


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


def _narrower(pace: Pace, rows: int) -> float:
    # rows ended the batch and not the span: a denser stretch is to find it small again
    if pace.span <= pace.rows:
        return rows
    return pace.span * (0.9 if pace.span <= NARROW * rows else 0.5)


def _within(value: float, low: int, high: int) -> int:
    return max(low, min(high, round(value)))
