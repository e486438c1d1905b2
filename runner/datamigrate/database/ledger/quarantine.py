"""The rows that were set aside since each fails by itself. Each step is in the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.ledger.clock import now
from datamigrate.database.ledger.locking import locked
from datamigrate.database.ledger.ranges import fence
from datamigrate.database.ledger.tables import Tables, since
from datamigrate.database.ledger.upgrading import ledger_version
from datamigrate.thought.codec import decode_key, encode_key, show_key
from datamigrate.words.claim import Owner
from datamigrate.words.errors import TooManyQuarantined
from datamigrate.words.migration import Key
from datamigrate.words.quarantine import Failing, SetAside
from datamigrate.words.rows import human_rows
from datamigrate.words.secrets import redacted


@dataclass(frozen=True, eq=False)
class Quarantine:
    """The quarantine of one migration, as one process writes it."""

    owner: Owner
    tables: Tables
    name: str

    async def keys(self, connection: AsyncConnection) -> tuple[Key, ...]:
        """The keys of its rows, the first that failed first."""
        return await connection.run_sync(keys_aside, self.tables, self.name)

    async def holds(self, connection: AsyncConnection, key: Key) -> bool:
        """Whether this row is in it; if so, it stays while the transaction lasts."""
        t = self.tables.quarantine
        query = sa.select(t.c.key).where(t.c.migration == self.name, t.c.key == encode_key(key))
        return (await connection.execute(query.with_for_update())).first() is not None

    async def rows(self, connection: AsyncConnection) -> tuple[SetAside, ...]:
        """Its rows, the first that failed first; none where the ledger is older than that."""
        return await connection.run_sync(read_aside, self.tables, self.name)

    async def count(self, connection: AsyncConnection) -> int:
        """How many rows it has."""
        return await connection.run_sync(count_aside, self.tables, self.name)

    async def admit(self, connection: AsyncConnection, row: Failing, most: int) -> int:
        """Put a row into it; how many there are then. Raises TooManyQuarantined for one beyond `most`."""
        # one at a time, so that the count holds
        await connection.execute(locked(self.tables, self.name))
        await connection.run_sync(set_aside, self.tables, self.owner, self.name, row)
        if (total := await self.count(connection)) > most:
            raise TooManyQuarantined(
                f"row {show_key(row.key)} fails too ({row.error.rstrip('.')}), and {human_rows(most)} "
                f"quarantined already, which is max_quarantined",
                f"`datamigrate quarantine list {self.name}` shows what they have in common. Mend it, then "
                f"`datamigrate retry {self.name} --quarantined`; or raise max_quarantined in the script.",
            )
        return total

    async def release(self, connection: AsyncConnection, keys: Sequence[Key] | None = None) -> int:
        """Let these rows, or all, out of it; how many those were."""
        return await connection.run_sync(release, self.tables, self.name, keys)

    async def hand_back(self, connection: AsyncConnection, keys: Sequence[Key] | None = None) -> int:
        """Let these rows, or all, out of it at an operator's word; how many those were. Whoever works on the
        migration is made to look anew which are in it."""
        return await connection.run_sync(hand_back, self.tables, self.name, keys)

    async def recover(self, connection: AsyncConnection, key: Key, rows: int, left_alone: int) -> None:
        """Let a row out that was done after all, and count it."""
        await self.release(connection, (key,))
        t = self.tables.range
        first = sa.select(sa.func.min(t.c.number)).where(t.c.migration == self.name).scalar_subquery()
        await connection.execute(
            sa.update(t)
            .where(t.c.migration == self.name, t.c.number == first)
            .values(rows=t.c.rows + rows, left_alone=t.c.left_alone + left_alone)
        )

    async def remark(self, connection: AsyncConnection, what: str, reason: str | None) -> None:
        """Keep in the history what was done to its rows."""
        await connection.run_sync(remark, self.tables, self.owner, self.name, what, reason)


def set_aside(connection: Connection, tables: Tables, owner: Owner, name: str, row: Failing) -> None:
    """Put a row into quarantine; one that is there has failed once more."""
    t = tables.quarantine
    mine = (t.c.migration == name, t.c.key == encode_key(row.key))
    told: dict[str, Any] = {"error": row.error, "held": row.held, "owner": str(owner)}
    again = (
        sa.update(t).where(*mine).values(told | {"attempts": t.c.attempts + row.attempts, "last_at": now()})
    )
    if not connection.execute(again).rowcount:
        first = {"migration": name, "key": encode_key(row.key), "attempts": row.attempts}
        connection.execute(sa.insert(t).values(first | told))


def release(connection: Connection, tables: Tables, name: str, keys: Sequence[Key] | None = None) -> int:
    """Let these rows, or all, out of quarantine; how many those were."""
    t = tables.quarantine
    which = [] if keys is None else [t.c.key.in_([encode_key(key) for key in keys])]
    return connection.execute(sa.delete(t).where(t.c.migration == name, *which)).rowcount


def hand_back(connection: Connection, tables: Tables, name: str, keys: Sequence[Key] | None) -> int:
    """Let these rows, or all, out of quarantine, and fence out who has counted on their being in it."""
    # in the order in which those lock who record that a migration is done
    connection.execute(locked(tables, name))
    released = release(connection, tables, name, keys)
    fence(connection, tables, name)
    return released


def remark(
    connection: Connection, tables: Tables, owner: Owner, name: str, what: str, reason: str | None
) -> None:
    """Keep in the history what was done to rows in quarantine, which moves the migration nowhere."""
    state = connection.scalar(sa.select(tables.migration.c.state).where(tables.migration.c.name == name))
    move = {"migration": name, "before": state, "after": state, "cause": what}
    connection.execute(
        sa.insert(tables.transition).values(
            move | {"owner": str(owner), "reason": reason and redacted(reason)}
        )
    )


def count_aside(connection: Connection, tables: Tables, name: str) -> int:
    """How many rows of a migration are in quarantine."""
    t = tables.quarantine
    return int(connection.scalar(sa.select(sa.func.count()).where(t.c.migration == name)) or 0)


def keys_aside(connection: Connection, tables: Tables, name: str) -> tuple[Key, ...]:
    """The keys of a migration's rows in quarantine, the first that failed first."""
    t = tables.quarantine
    found = connection.scalars(
        sa.select(t.c.key).where(t.c.migration == name).order_by(t.c.first_at, t.c.key)
    )
    return tuple(decode_key(text) for text in found)


def read_aside(connection: Connection, tables: Tables, name: str) -> tuple[SetAside, ...]:
    """A migration's rows in quarantine, the first that failed first; none where the ledger is older than that."""
    if not _is_there(connection, tables):
        return ()
    t = tables.quarantine
    rows = connection.execute(sa.select(t).where(t.c.migration == name).order_by(t.c.first_at, t.c.key))
    return tuple(
        SetAside(
            key=decode_key(row.key),
            error=row.error,
            attempts=row.attempts,
            held=row.held,
            owner=row.owner,
            first_at=row.first_at,
            last_at=row.last_at,
        )
        for row in rows
    )


def count_all_aside(connection: Connection, tables: Tables) -> Mapping[str, int]:
    """How many rows each migration has in quarantine."""
    if not _is_there(connection, tables):
        return {}
    t = tables.quarantine
    counts = connection.execute(sa.select(t.c.migration, sa.func.count()).group_by(t.c.migration))
    return {name: int(count) for name, count in counts}


def _is_there(connection: Connection, tables: Tables) -> bool:
    return (ledger_version(connection, tables) or 0) >= since(tables.quarantine)
