"""What `run` was asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from datamigrate.doing.settings import Budget
from datamigrate.thought.agenda import Agenda


@dataclass(frozen=True)
class RunOptions:
    """What `run` was asked: which migrations, for how long, how patiently, whether it may be slow,
    and whether the database's health may hold it back.

    `until` is a time of the day, `due` leaves everything but what is scheduled alone, and what was failed
    before is not tried again without `retries_failed`, nor what is `spared` (see Agenda). Passing faults are
    met with `least_attempts` tries at least.
    """

    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    budget: Budget = field(default_factory=Budget)
    batch_size: int | None = None
    keep_going: bool = False
    wait: bool = True
    workers: int = 1
    nice: float | None = None
    allow_slow: bool = False
    until: str | None = None
    due: bool = False
    ignore_window: bool = False
    retries_failed: bool = True
    least_attempts: int = 1
    spared: Mapping[str, tuple[str, datetime | None]] = field(default_factory=dict)
    throttle: bool = True
    arguments: str = ""

    @property
    def agenda(self) -> Agenda:
        """What is wanted of a plan, at whatever moment."""
        return Agenda(
            asked=frozenset(self.names),
            only_due=self.due,
            ignores_windows=self.ignore_window,
            retries_failed=self.retries_failed,
            spared=self.spared,
        )
