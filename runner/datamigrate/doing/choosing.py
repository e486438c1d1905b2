"""Which rows the next batch has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.keyset import Keyset, last_key, nth_key, nth_parameters
from datamigrate.database.narrowed import narrowed
from datamigrate.database.repeated import Repeated
from datamigrate.thought.pacing import Pace
from datamigrate.words.migration import Bounds, Key, KeyValue


@dataclass(frozen=True)
class Slice:
    """The next piece of the key space."""

    bounds: Bounds
    is_last: bool


@dataclass(frozen=True, eq=False)
class Choosing:
    """Slice after slice of a table, of which some rows are `pending`: where those are `few` and known, all of them."""

    keyset: Keyset
    pending: sa.ColumnElement[bool]
    few: Sequence[Key] | None = None

    async def behind(self, connection: AsyncConnection, reach: Bounds, pace: Pace) -> Slice:
        """The slice behind `reach.lower` that ends with the pace's rows or its span, whichever comes first."""
        if (chosen := self.without_a_look(reach, pace)) is not None:
            return chosen
        end = await self._nth(connection, self._any, reach, pace.span) or reach.upper
        if pace.span > pace.rows:
            looked_at = Bounds(reach.lower, end)
            end = await self._nth(connection, self._pending, looked_at, pace.rows) or end
        return Slice(Bounds(reach.lower, end), end == reach.upper)

    def without_a_look(self, reach: Bounds, pace: Pace) -> Slice | None:
        """The same where it is known or can be reckoned; else None."""
        return listed(self.few, reach, pace) if self.few else reckoned(reach, pace)

    async def has(self, connection: AsyncConnection, bounds: Bounds, rows: int) -> bool:
        """Whether a slice has so many rows, pending or not."""
        return await self._nth(connection, self._any, bounds, rows) is not None

    @cached_property
    def _any(self) -> Repeated[sa.Select[Any]]:
        return Repeated(lambda bounds: nth_key(self.keyset, bounds, 1))

    @cached_property
    def _pending(self) -> Repeated[sa.Select[Any]]:
        return Repeated(
            lambda bounds: nth_key(self.keyset, bounds, 1, narrowed(self.keyset, bounds, self.pending))
        )

    async def _nth(
        self, connection: AsyncConnection, keys: Repeated[sa.Select[Any]], bounds: Bounds, n: int
    ) -> Key | None:
        return await first_key(connection, keys.of(bounds), nth_parameters(bounds, n))


def listed(keys: Sequence[Key], reach: Bounds, pace: Pace) -> Slice | None:
    """The slice with the next of these keys; None where what is left does not lie between two of them: it was cut."""
    if reach.upper not in keys or (reach.lower is not None and reach.lower not in keys):
        return None
    done = 0 if reach.lower is None else keys.index(reach.lower) + 1
    next_ones = keys[done : keys.index(reach.upper) + 1][: pace.rows]
    return Slice(Bounds(reach.lower, next_ones[-1]), next_ones[-1] == reach.upper)


def reckoned(reach: Bounds, pace: Pace) -> Slice | None:
    """The slice that the pace's span of whole numbers makes; None where keys are not numbered, or where that is not
    known."""
    if not pace.numbered or reach.lower is None or reach.numbers is None:
        return None
    is_last = reach.numbers <= pace.span
    (lower,) = reach.lower
    return Slice(reach if is_last else Bounds(reach.lower, (lower + pace.span,)), is_last)


async def find_upper(connection: AsyncConnection, keyset: Keyset) -> Key | None:
    """The largest key there is now, or None for an empty table."""
    return await first_key(connection, last_key(keyset))


async def first_key(
    connection: AsyncConnection, query: sa.Select[Any], parameters: Mapping[str, KeyValue] | None = None
) -> Key | None:
    """The key that a query gives, or None when it gives no row."""
    row = (await connection.execute(query, parameters)).first()
    return None if row is None else tuple(row)
