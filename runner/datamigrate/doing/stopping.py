"""When to stop between two batches, and why."""

import math
from dataclasses import dataclass, field

import anyio

from datamigrate.doing.settings import Budget


@dataclass
class Stop:
    """Asked between two batches. The budget counts from the moment this is made."""

    budget: Budget = field(default_factory=Budget)
    reason: str | None = None
    batches: int = 0
    _deadline: float = field(default=math.inf, init=False)
    _end: float = field(default=math.inf, init=False)
    _end_told: str = field(default="", init=False)

    def begin(self) -> None:
        """Start the clock, unless it runs already."""
        if self.budget.max_time is not None and self._deadline == math.inf:
            self._deadline = anyio.current_time() + self.budget.max_time

    def end_in(self, seconds: float, told: str) -> None:
        """Stop in so many seconds too, unless such an end is set already; `told` is why."""
        if self._end == math.inf:
            self._end, self._end_told = anyio.current_time() + seconds, told

    def request(self, reason: str) -> None:
        """Stop after the batch that is under way; the first reason is the one that is told."""
        self.reason = self.reason or reason

    def count_batch(self) -> None:
        """One more batch is done."""
        self.batches += 1

    def why(self) -> str | None:
        """Why to stop now, or None to go on."""
        if self.reason is None and anyio.current_time() >= self._deadline:
            self.reason = "time budget used up"
        if self.reason is None and anyio.current_time() >= self._end:
            self.reason = self._end_told
        if (
            self.reason is None
            and self.budget.max_batches is not None
            and self.batches >= self.budget.max_batches
        ):
            self.reason = "batch budget used up"
        return self.reason
