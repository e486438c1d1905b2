"""The ledger's tables; a table or column that is younger than the first version says since when it is."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from datamigrate.database.ledger.clock import Instant, now

VERSION = 3
PREFIX = "datamigrate_"
SINCE = "since"


@dataclass(frozen=True, eq=False)
class Tables:
    """The ledger in one schema (None: the connection's default)."""

    metadata: sa.MetaData
    ledger: sa.Table
    migration: sa.Table
    range: sa.Table
    run: sa.Table
    transition: sa.Table
    undo: sa.Table
    occurrence: sa.Table
    quarantine: sa.Table


def schema_on(dialect: str, schema: str | None) -> str | None:
    """The schema that the ledger has there, of which SQLite knows none."""
    return schema if dialect == "postgresql" else None


@cache
def ledger_tables(schema: str | None = None) -> Tables:
    """The tables, not yet created."""
    metadata = sa.MetaData(schema=schema)
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    ledger = sa.Table(
        f"{PREFIX}ledger",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, comment="always 1"),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("program", sa.Text, nullable=False, comment="the datamigrate that made this version"),
        sa.Column("upgraded_at", Instant, nullable=False),
    )
    migration = sa.Table(
        f"{PREFIX}migration",
        metadata,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("checksum", sa.Text, nullable=False),
        sa.Column("requires", sa.Text, nullable=False, comment="Alembic revisions, separated by blanks"),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("estimate", sa.BigInteger, comment="rows thought to be pending at the start"),
        sa.Column("estimate_source", sa.Text),
        sa.Column("enrolled_at", Instant, nullable=False, server_default=now()),
        sa.Column("started_at", Instant),
        sa.Column("finished_at", Instant),
        sa.Column("reason", sa.Text, comment="why it is in its state: the error, the signal, the person"),
        sa.Column("moved_by", sa.Text, comment="who moved it to its state", info={SINCE: 2}),
        sa.Column("moved_at", Instant, info={SINCE: 2}),
        sa.Column("tuning", sa.Text, comment="the pace an operator has set, as JSON", info={SINCE: 2}),
        sa.Column("waiting", sa.Text, comment="why no batch begins just now", info={SINCE: 3}),
        sa.Column("waiting_since", Instant, info={SINCE: 3}),
        sa.Column("schedule", sa.Text, comment="when it is due again, as cron writes it", info={SINCE: 3}),
        sa.Column("scheduled_at", Instant, comment="since when it has this schedule", info={SINCE: 3}),
    )
    ranges = sa.Table(
        f"{PREFIX}range",
        metadata,
        sa.Column(
            "migration", sa.Text, sa.ForeignKey(migration.c.name, ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("cursor", sa.Text, comment="the last key done, as tagged JSON"),
        sa.Column("upper", sa.Text, comment="the last key of this walk"),
        sa.Column("exhausted", sa.Boolean, nullable=False, default=False),
        sa.Column("sweep", sa.Integer, nullable=False, default=0),
        sa.Column("rows", sa.BigInteger, nullable=False, default=0),
        sa.Column("left_alone", sa.BigInteger, nullable=False, default=0),
        sa.Column("batches", sa.BigInteger, nullable=False, default=0),
        sa.Column("size", sa.Integer, nullable=False, default=0, comment="rows in the next batch"),
        sa.Column("span", sa.Integer, nullable=False, default=0, comment="keys looked at in the next batch"),
        sa.Column("seconds", sa.Float, nullable=False, default=0.0, comment="time spent in batches"),
        sa.Column("owner", sa.Text),
        sa.Column("generation", sa.BigInteger, nullable=False, default=0),
        sa.Column("heartbeat", Instant),
        sa.Column(
            "attempts",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="claims since the last checkpoint",
            info={SINCE: 3},
        ),
    )
    run = sa.Table(
        f"{PREFIX}run",
        metadata,
        sa.Column("id", serial, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("started_at", Instant, nullable=False, server_default=now()),
        sa.Column("finished_at", Instant),
        sa.Column("outcome", sa.Text),
        sa.Column("exit", sa.Integer),
    )
    transition = sa.Table(
        f"{PREFIX}transition",
        metadata,
        sa.Column("id", serial, primary_key=True),
        sa.Column("migration", sa.Text, nullable=False, index=True),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("at", Instant, nullable=False, server_default=now()),
    )
    undo = sa.Table(
        f"{PREFIX}undo",
        metadata,
        sa.Column("id", serial, primary_key=True),
        sa.Column("migration", sa.Text, nullable=False),
        sa.Column("shape", sa.Text, nullable=False, comment="table, key and columns of the images, as JSON"),
        sa.Column("key", sa.Text, nullable=False, comment="the row's key, as an image of its columns"),
        sa.Column("before", sa.Text, nullable=False, comment="the columns before the batch, as an image"),
        sa.Column("after", sa.Text, comment="the same columns behind it; NULL when the row is gone"),
        sa.Column("outcome", sa.Text, comment="once a revert has been here: undone, or changed since"),
        sa.Column("at", Instant, nullable=False, server_default=now()),
        sa.Index(f"ix_{PREFIX}undo_migration", "migration", "id"),
        info={SINCE: 3},
    )
    occurrence = sa.Table(
        f"{PREFIX}occurrence",
        metadata,
        sa.Column(
            "migration", sa.Text, sa.ForeignKey(migration.c.name, ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("due_at", Instant, primary_key=True),
        sa.Column("begun_at", Instant, nullable=False, server_default=now()),
        sa.Column("finished_at", Instant),
        sa.Column("outcome", sa.Text, comment="empty while it is open"),
        sa.Column("rows", sa.BigInteger),
        info={SINCE: 3},
    )
    quarantine = sa.Table(
        f"{PREFIX}quarantine",
        metadata,
        sa.Column(
            "migration", sa.Text, sa.ForeignKey(migration.c.name, ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("key", sa.Text, primary_key=True, comment="of the row set aside, as tagged JSON"),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, comment="how often the row was tried"),
        sa.Column("held", sa.Text, comment="what the row held, as JSON, where that is asked for"),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("first_at", Instant, nullable=False, server_default=now()),
        sa.Column("last_at", Instant, nullable=False, server_default=now()),
        info={SINCE: 3},
    )
    return Tables(metadata, ledger, migration, ranges, run, transition, undo, occurrence, quarantine)


def since(item: sa.Table | sa.Column[Any]) -> int:
    """The version of the ledger that first had this table or column."""
    return int(item.info.get(SINCE, 1))


def columns_in(table: sa.Table, version: int) -> list[sa.Column[Any]]:
    """The columns that a table has in a ledger of this version; none where it has no such table."""
    return [column for column in table.c if max(since(table), since(column)) <= version]
