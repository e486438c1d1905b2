"""Watching the database's health beside the work: looked at every few seconds, asked between any two batches."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
import sqlalchemy as sa

from datamigrate.database.database import Database
from datamigrate.database.health import Asked, read_signals
from datamigrate.doing.accompanying import accompanied
from datamigrate.doing.asking import Ask, within
from datamigrate.thought.health import EASY, LAG, SIGNALS, Guard, Reading, Throttle, Verdict, judge, rate

T = TypeVar("T")


@dataclass(eq=False)
class Watch:
    """What is watched for the migrations on these `tables` (None: it has none), and whom else to `ask`.

    The verdicts are by migration; the `counters` are what grows, as it was at the last look.
    """

    database: Database
    throttle: Throttle
    tables: Mapping[str, sa.TableClause | None]
    ask: Mapping[str, Ask] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict, init=False)
    counters: dict[Asked, tuple[float, float]] = field(default_factory=dict, init=False)

    @property
    def guards(self) -> tuple[Guard, ...]:
        """Those for whom there is something to read here."""
        readable = self.database.dialect.signals | set(self.ask)
        if self.throttle.lag_query:
            readable |= {LAG}
        return tuple(guard for guard in self.throttle.guards if guard.signal in readable)

    def why_wait(self, name: str) -> str | None:
        """Why a migration is held back, by the last look."""
        return self.verdicts.get(name, EASY).why

    def why_slow(self, name: str) -> str | None:
        """Why a migration is slowed down, by the last look."""
        return self.verdicts.get(name, EASY).why_slow

    async def during(self, work: Callable[[], Awaitable[T]]) -> T:
        """The work's result; it begins after a first look, and is watched until it ends."""
        if not self.guards:
            return await work()
        await self.look()
        return await accompanied(work, self._go_on_looking)

    async def _go_on_looking(self) -> None:
        while True:
            await anyio.sleep(self.throttle.every)
            await self.look()

    async def look(self) -> None:
        """Read every signal once, and judge."""
        readings = await self._read()
        for name, table in self.tables.items():
            of_this = {
                guard.signal: readings.get(
                    (guard.signal, table if SIGNALS[guard.signal].of_table else None), Reading()
                )
                for guard in self.guards
            }
            self.verdicts[name] = judge(self.guards, of_this, self.verdicts.get(name, EASY).acting)

    async def _read(self) -> dict[Asked, Reading]:
        throttle = self.throttle
        asked = [
            (guard.signal, table)
            for guard in self.guards
            if guard.signal not in self.ask
            for table in (self._all_tables if SIGNALS[guard.signal].of_table else (None,))
        ]
        readings: dict[Asked, Reading] = {}
        if asked:
            readings = await read_signals(self.database, asked, throttle.patience, throttle.lag_query)
            readings = {one: self._growth(one, reading) for one, reading in readings.items()}
        for signal, ask in self.ask.items():
            readings[signal, None] = await within(throttle.patience, ask)
        return readings

    @property
    def _all_tables(self) -> tuple[sa.TableClause, ...]:
        return tuple(dict.fromkeys(table for table in self.tables.values() if table is not None))

    def _growth(self, one: Asked, reading: Reading) -> Reading:
        if not SIGNALS[one[0]].grows or reading.value is None:
            return reading
        before, now = self.counters.get(one), (reading.value, time.monotonic())
        self.counters[one] = now
        return Reading(rate(before, now))
