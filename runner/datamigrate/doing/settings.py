"""How hard, how long and how patiently to work."""

import math
from dataclasses import dataclass, field, replace

from datamigrate.database.dialects.base import Timeouts
from datamigrate.thought.pacing import Limits, fixed
from datamigrate.thought.tuning import UNTUNED, Tuning
from datamigrate.words.migration import Options

FIRST_ROWS = 500

MOST_WORKERS = 64

ROOM_ROWS = 1_000
"""Of a batch at most while room is made for others: few rows are locked, and little has to be on the disk before
their commits are."""

ROOM_TIME = 0.05
"""Seconds that such a batch is to take."""

ROOM_SHARE = 3 / 4
"""Of all time is rested meanwhile."""


@dataclass(frozen=True)
class Settings:
    """All times are in seconds.

    A claim whose owner is not heard of for `claim_expiry` may be taken over. After `max_sweeps` walks that
    still leave pending rows, the application is writing them faster than they are done. A passing fault
    is tried again up to `max_attempts` times. A batch at which more than `max_deaths` processes have died is
    halved. `pause` is slept between two batches, or longer to rest for the
    share `nice` of all time (0 to 1), but never longer than `max_pause`; when `nice` is None, it rests while there
    are others to make room for. So many `workers` are at work at
    the same time, on `max_connections` at most; None is as many as they can use.
    """

    first_rows: int = FIRST_ROWS
    limits: Limits = field(default_factory=Limits)
    compute_rows: int = 20_000
    timeouts: Timeouts = field(default_factory=Timeouts)
    claim_expiry: float = 30.0
    max_sweeps: int = 5
    max_attempts: int = 10
    max_deaths: int = 3
    pause: float = 0.0
    nice: float | None = None
    max_pause: float = math.inf
    durable_batches: bool = False
    workers: int = 1
    max_connections: int | None = None

    def suited(self, most_rows: int) -> "Settings":
        """The same on a database that batches of so many rows suit."""
        return replace(self, limits=self.limits.suited(most_rows))

    @property
    def connections(self) -> int:
        """How many connections a run opens at most: each worker writes, reads ahead and gives a sign of life.
        With fewer they wait for each other."""
        wanted = 2 + 3 * self.workers
        return wanted if self.max_connections is None else min(wanted, self.max_connections)

    @property
    def making_room(self) -> "Settings":
        """The same while others are at work in the database: all workers together rest as long as one would, and
        batches are small, unless somebody has said how large."""
        rest = 1 - (1 - ROOM_SHARE) / self.workers
        return replace(self, nice=rest, limits=self.limits.capped(ROOM_ROWS, ROOM_TIME))

    def limits_for(self, holds_rows: bool) -> Limits:
        """Of a batch's size: what `holds_rows` in memory has smaller ones, unless somebody has said how many."""
        return self.limits.capped(self.compute_rows) if holds_rows else self.limits

    def pause_after(self, seconds: float) -> float:
        """How many seconds to rest after a batch that took so many."""
        nice = self.nice or 0.0
        return min(self.max_pause, max(self.pause, seconds * nice / (1 - nice)))


@dataclass(frozen=True)
class Budget:
    """When to stop before the work is done; None is never."""

    max_time: float | None = None
    max_batches: int | None = None


def for_script(
    settings: Settings,
    options: Options,
    batch_size: int | None,
    tuning: Tuning = UNTUNED,
) -> Settings:
    """The settings for one script: what its author asked for, unless the operator asks otherwise, who may
    think again while it runs.

    A batch size fixes the rows of a batch.
    """
    limits = settings.limits
    if target_time := tuning.target_time or options.target_time:
        limits = replace(limits, target_time=target_time)
    rows = tuning.batch_size or (None if tuning.target_time else batch_size or options.batch_size)
    if rows:
        limits = fixed(limits, rows)
    max_pause = _first(tuning.max_pause, options.max_pause, settings.max_pause)
    return replace(
        settings,
        limits=limits,
        first_rows=min(rows or settings.first_rows, limits.most),
        pause=min(settings.pause, max_pause),
        max_pause=max_pause,
        nice=settings.nice if tuning.nice is None else tuning.nice,
        workers=tuning.workers or settings.workers,
    )


def _first(*wishes: float | None) -> float:
    return next(wish for wish in wishes if wish is not None)
