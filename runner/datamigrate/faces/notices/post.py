"""Notices on their way: handed over at once, delivered beside the run, which they neither hold up nor fail."""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import anyio

from datamigrate.doing.accompanying import accompanied
from datamigrate.faces.notices.notice import Notice, notice_of
from datamigrate.thought.stalling import Stalls
from datamigrate.words import events

T = TypeVar("T")

AFTER_THE_END = 8.0
"""Seconds that are left for delivery once the run has ended."""

MOST_WAITING = 1000


class Sink(Protocol):
    """Somebody who takes notices, by the name that people know it by."""

    @property
    def name(self) -> str:
        """What it is called in a message."""

    async def __call__(self, notice: Notice) -> None:
        """Take it, or raise."""


@dataclass(frozen=True, eq=False)
class Post:
    """Takes notices of these kinds to the sinks, each with the `database` and the `owner` of the run.

    A migration has stalled after so many seconds without a batch.
    """

    sinks: tuple[Sink, ...]
    kinds: frozenset[str]
    stalled_after: float
    database: str
    owner: str

    async def during(self, publish: events.Publish, work: Callable[[events.Publish], Awaitable[T]]) -> T:
        """The work's result; what it publishes is heard here too. What is left is delivered in the end."""
        if not self.sinks:
            return await work(publish)
        outbox, inbox = anyio.create_memory_object_stream[Notice](MOST_WAITING)
        stalls, delivered = Stalls(self.stalled_after), anyio.Event()

        def hear(event: events.Event) -> None:
            stalls.note(event, time.monotonic())
            publish(event)
            notice = notice_of(event, self.database, self.owner)
            if notice and notice.kind in self.kinds:
                try:
                    outbox.send_nowait(notice)
                except anyio.WouldBlock:
                    publish(events.Undelivered(notice.migration, "notices", "too many are waiting"))

        async def deliver() -> None:
            async with inbox:
                async for notice in inbox:
                    for sink in self.sinks:
                        await _hand(sink, notice, publish)
            delivered.set()

        async def look_for_stalls() -> None:
            while self.stalled_after < math.inf:
                await anyio.sleep(min(1.0, self.stalled_after / 4))
                for event in stalls.due(time.monotonic()):
                    hear(event)

        async def work_and_wait() -> T:
            try:
                return await work(hear)
            finally:
                outbox.close()
                with anyio.move_on_after(AFTER_THE_END):
                    await delivered.wait()

        return await accompanied(work_and_wait, deliver, look_for_stalls)


async def _hand(sink: Sink, notice: Notice, publish: events.Publish) -> None:
    try:
        await sink(notice)
    except Exception as error:
        publish(events.Undelivered(notice.migration, sink.name, str(error) or type(error).__name__))
