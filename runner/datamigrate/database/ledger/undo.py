"""The undo log's entries as the ledger has them: how many there are, and throwing them away."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.images import shown
from datamigrate.database.ledger.clock import ago
from datamigrate.database.ledger.tables import Tables, since
from datamigrate.database.ledger.upgrading import ledger_version
from datamigrate.database.undoing import CHANGED

AT_A_GLANCE = 100_000
"""Entries of a migration that are counted for a table of all; more are not worth the wait."""

PRUNED = 5_000
"""Entries that one transaction throws away."""


@dataclass(frozen=True)
class UndoSize:
    """So many `rows` that a migration has changed are in the undo log, in so many `bytes`; there are `more` than
    were counted."""

    rows: int
    bytes: int
    more: bool = False

    def facts(self) -> dict[str, Any]:
        """The size as plain data."""
        return {"rows": self.rows, "bytes": self.bytes, "more": self.more}

    def __str__(self) -> str:
        told = f"{'more than ' if self.more else ''}{self.rows:,} rows"
        return f"{told} ({_human(self.bytes)})"


def has_log(connection: Connection, tables: Tables) -> bool:
    """Whether the ledger is young enough to have an undo log."""
    return (ledger_version(connection, tables) or 0) >= since(tables.undo)


def undo_sizes(connection: Connection, tables: Tables) -> dict[str, UndoSize]:
    """What the log has of each migration, counted as far as is quick."""
    if not has_log(connection, tables):
        return {}
    t, name = tables.undo, ""
    sizes: dict[str, UndoSize] = {}
    # one look into the index for each name, however many entries it has
    while (
        name := connection.scalar(sa.select(sa.func.min(t.c.migration)).where(t.c.migration > name))
    ) is not None:
        if size := _counted(connection, tables, name, AT_A_GLANCE):
            sizes[name] = size
    return sizes


def undo_size(connection: Connection, tables: Tables, name: str) -> UndoSize | None:
    """What the log has of one migration, counted to the end; None when it has nothing."""
    return _counted(connection, tables, name, None) if has_log(connection, tables) else None


def changed_since(connection: Connection, tables: Tables, name: str, most: int = 20) -> list[str]:
    """The keys of some rows, for a person, that were not put back because somebody has changed them."""
    if not has_log(connection, tables):
        return []
    t = tables.undo
    rows = sa.select(t.c.key).where(t.c.migration == name, t.c.outcome == CHANGED)
    keys = connection.scalars(rows.order_by(t.c.id.desc()).limit(most))
    return [shown(connection.dialect.name, key) for key in keys]


def may_undo(connection: Connection, tables: Tables, name: str, all_settled: bool = False) -> bool:
    """Whether the log has something to undo of a migration, or, with `all_settled`, had it."""
    if not has_log(connection, tables):
        return False
    t = tables.undo
    pending = [] if all_settled else [t.c.outcome.is_(None)]
    some = sa.select(sa.literal(1)).where(t.c.migration == name, *pending).limit(1)
    return connection.scalar(some) is not None


def unkept(connection: Connection, tables: Tables, name: str) -> int:
    """How many rows a migration has changed that the log does not have; at one moment, since a run may go on."""
    t, r = tables.undo, tables.range
    kept = sa.select(sa.func.count()).where(t.c.migration == name, t.c.outcome.is_(None))
    done = sa.select(sa.func.coalesce(sa.func.sum(r.c.rows), 0)).where(r.c.migration == name)
    return max(0, int(connection.scalar(sa.select(done.scalar_subquery() - kept.scalar_subquery())) or 0))


async def prune_some(connection: AsyncConnection, tables: Tables, name: str, older: float | None) -> int:
    """Throw some entries of a migration away, the oldest first, if they are older than so many seconds; how
    many those were."""
    t = tables.undo
    mine = [t.c.migration == name] + ([] if older is None else [t.c.at < ago(older)])
    some = sa.select(t.c.id).where(*mine).order_by(t.c.id).limit(PRUNED)
    deleted: Any = await connection.execute(sa.delete(t).where(t.c.id.in_(some)))
    return int(deleted.rowcount)


def _counted(connection: Connection, tables: Tables, name: str, most: int | None) -> UndoSize | None:
    t = tables.undo
    size = sa.func.length(t.c.key + t.c.before + sa.func.coalesce(t.c.after, ""))
    some = sa.select(size.label("size")).where(t.c.migration == name)
    found = some.limit(None if most is None else most + 1).subquery()
    count = sa.func.count(), sa.func.coalesce(sa.func.sum(found.c.size), 0)
    rows, size_of_all = connection.execute(sa.select(*count).select_from(found)).one()
    if not rows:
        return None
    more = most is not None and rows > most
    return UndoSize(most if more and most is not None else rows, int(size_of_all), more)


def _human(size: float) -> str:
    if size < 1000:
        return f"{size:,.0f} bytes"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:,.1f} {unit}"
    return f"{size / 1000:,.1f} GB"
