"""Batches that overlap: what the next one does begins while this one goes on, each step in its turn."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from datamigrate.database.cancelled import is_in_cancelled_scope
from datamigrate.doing.work import Change, Portion
from datamigrate.thought.pacing import Limits, Pace
from datamigrate.words.claim import Claim

LOOK_ROUND = 0.05
"""Seconds between two looks whether a turn is wanted still."""

GRACE = 0.05
"""Seconds for what is under way when a turn is broken off."""


@dataclass(eq=False)
class Turn:
    """One batch's way, from the claim as it will stand then, at a pace within limits that hold now: its `portion` is
    prepared at once, its rows are changed when it may do that, and that is kept, with its checkpoint, when it may do
    that. The turn `behind` it has begun by then."""

    claim: Claim
    pace: Pace
    limits: Limits
    portion: Portion | None = field(default=None, init=False)
    behind: "Turn | None" = field(default=None, init=False)
    _may_change: anyio.Event = field(default_factory=anyio.Event, init=False)
    _may_keep: anyio.Event = field(default_factory=anyio.Event, init=False)
    _at_rest: anyio.Event = field(default_factory=anyio.Event, init=False)
    _ended: anyio.Event = field(default_factory=anyio.Event, init=False)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope, init=False)
    _change: Change | None = field(default=None, init=False)
    _error: BaseException | None = field(default=None, init=False)
    _failed_early: bool = field(default=False, init=False)

    def let_change(self) -> None:
        """Let it change its rows, but not keep that."""
        self._may_change.set()

    def go(self) -> None:
        """Let it go on to its end."""
        self._may_change.set()
        self._may_keep.set()

    @property
    def may_change(self) -> bool:
        """Whether its rows are being changed by now."""
        return self._may_change.is_set()

    async def until_it_may_change(self) -> None:
        """Rest until then."""
        await self._rest(self._may_change)

    async def until_it_may_keep(self) -> None:
        """Rest until then."""
        await self._rest(self._may_keep)

    async def _rest(self, gate: anyio.Event) -> None:
        self._at_rest.set()
        await gate.wait()
        self._at_rest = anyio.Event()

    async def live(self, work: Callable[["Turn"], Awaitable[Change]]) -> None:
        """Do the work, in a task of its own."""
        try:
            with self._scope:
                self._change = await work(self)
        except (Exception, CancelledError) as error:
            if isinstance(error, CancelledError) and is_in_cancelled_scope():
                raise
            self._error, self._failed_early = error, not self._may_keep.is_set()
        finally:
            self._ended.set()
            self._at_rest.set()

    @property
    def failure_ahead(self) -> Exception | None:
        """What it has failed with before its turn had come, which may have been for that very reason."""
        return self._error if self._failed_early and isinstance(self._error, Exception) else None

    async def outcome(self, is_wanted: Callable[[], bool]) -> Change | None:
        """What has become of it, once it has ended; None for one that is not wanted any more before its
        portion is prepared. Raises what it failed with. Behind what did not go well nothing is left."""
        while not self._ended.is_set():
            with anyio.move_on_after(LOOK_ROUND):
                await self._ended.wait()
            if self.portion is None and not is_wanted():
                await self.drop()
                return None
        if self._error is not None:
            await self.drop()
            raise self._error
        assert self._change is not None
        return self._change

    async def drop(self) -> None:
        """Break it off, and what is behind it, and wait until all of that is rolled back. A short statement is
        waited for: to break that off costs the connection."""
        turn: Turn | None = self
        while turn is not None:
            with anyio.move_on_after(GRACE):
                await turn._at_rest.wait()
            turn._scope.cancel()
            await turn._ended.wait()
            turn = turn.behind
