"""What a batch is, whatever its form: `prepare` outside the transaction, `apply` inside it."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.dialects.base import Estimate
from datamigrate.doing.choosing import Slice
from datamigrate.doing.computing import Computed
from datamigrate.doing.dividing import Division
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import Claim
from datamigrate.words.migration import Bounds, Key

Look = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
"""Gives a connection to read with: a transaction of its own, or the one in which everything is tried."""


@dataclass(frozen=True)
class Portion:
    """What `prepare` hands to `apply`: the claim as it stood, and what was read and computed in how many
    seconds."""

    claim: Claim
    pace: Pace
    slice: Slice | None = None
    computed: Computed | None = None
    seconds: float = 0.0

    @property
    def end(self) -> Key | None:
        """The last key of what was read; None when nothing was."""
        return None if self.slice is None else self.slice.bounds.upper

    @property
    def is_last(self) -> bool:
        """Whether nothing follows, as far as is known."""
        return self.slice is None or self.slice.is_last


@dataclass(frozen=True)
class Change:
    """What a batch did: where it ended, how many rows it changed, and left alone by choice, out of how many
    that it `found` pending."""

    cursor: Key | None
    exhausted: bool
    rows: int
    left_alone: int = 0
    found: int = 0


@dataclass(frozen=True)
class Alone:
    """How many rows are left alone, and a mark by which these very rows are known, as long as what was read of them stays
    the same."""

    rows: int = 0
    mark: int = 0

    def among(self, rows: Iterable[Sequence[Any]]) -> "Alone":
        """With more of them, of each its key and what was read."""
        marks = [hash(repr(tuple(row))) for row in rows]
        return Alone(self.rows + len(marks), (self.mark + sum(marks)) % 2**64)


class Unprepared(Exception):
    """What was to be done in the transaction alone has to be prepared before it after all; nothing was changed."""


class Work(Protocol):
    """One form, bound to its table. One that `has_slices` can do with a smaller one."""

    has_slices: bool

    @property
    def is_overdue(self) -> bool:
        """Whether something that should have ended by now goes on in a transaction, and nobody can end it."""

    @property
    def holds_rows(self) -> bool:
        """Whether a batch's rows are held in memory."""

    async def find_upper(self, connection: AsyncConnection) -> Key | None:
        """The last key of a walk that begins now, or None when there is nothing to walk."""

    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """What can be done before the transaction, so that the transaction stays short."""

    async def apply(self, connection: AsyncConnection, portion: Portion, thorough: bool) -> Change:
        """The batch, in the transaction that also keeps its checkpoint.

        A `thorough` one looks again at the rows it found pending. Raises StillPending when the work has
        not changed that, and Unprepared.
        """

    async def look(self, connection: AsyncConnection) -> tuple[Key, ...]:
        """A fresh look at everything: some keys that are pending, none when nothing is."""

    async def only(self, connection: AsyncConnection, found: Sequence[Key]) -> "Work":
        """The work on these rows alone, if these are all that a look has found, and it is quicker so; else itself."""

    async def left_alone(self, look: Look, ask: bool = True) -> Alone | None:
        """The rows that are pending because the script leaves each of them alone; None when it would not. Unless it is to
        `ask`, all that are pending."""

    async def divide(self, connection: AsyncConnection, bounds: Bounds, parts: int, least: int) -> Division:
        """Where to cut a slice into so many parts of at least `least` rows."""

    async def has_rows(self, connection: AsyncConnection, bounds: Bounds, rows: int = 1) -> bool:
        """Whether a slice has so many rows, pending or not."""

    async def count(self, connection: AsyncConnection) -> int:
        """How many rows are pending now, exactly."""

    async def estimate(self, connection: AsyncConnection) -> Estimate | None:
        """How many rows are pending, without a long count; None when nobody can say."""
