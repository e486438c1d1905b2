"""The statement that keeps how far a claim is, and reads the operator's word in the same breath.

It is executed for every batch, so it is made once, with a parameter for each value.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.ledger.clock import now
from datamigrate.database.ledger.ranges import encoded
from datamigrate.database.ledger.records import Orders
from datamigrate.database.ledger.tables import Tables
from datamigrate.thought.lifecycle import Standing, State
from datamigrate.thought.tuning import tuning_from
from datamigrate.words.claim import Claim

_KEPT = (
    "cursor",
    "upper",
    "exhausted",
    "sweep",
    "rows",
    "left_alone",
    "batches",
    "size",
    "span",
    "attempts",
)
_OURS = ("migration", "number", "generation", "owner")
_WORD = ("state", "moved_by", "moved_at", "reason", "tuning")


@cache
def checkpoint_statement(tables: Tables, begins: bool = False) -> sa.Update:
    """The UPDATE that records a claim's progress, provided that it is still ours and, unless the walk `begins`,
    ends where it did. It gives a row of `orders_columns`, or none when it has recorded nothing."""
    t = tables.range
    ours = [t.c[name] == _given(t, name) for name in _OURS]
    uncut = () if begins else (t.c.upper.is_not_distinct_from(_given(t, "upper")),)
    kept = {name: _given(t, name) for name in _KEPT}
    orders = (
        sa.select(column).where(tables.migration.c.name == _given(t, "migration")).scalar_subquery()
        for column in orders_columns(tables)
    )
    return (
        sa.update(t)
        .where(*ours, *uncut)
        .values(kept | {"seconds": t.c.seconds + _given(t, "seconds"), "heartbeat": now()})
        .returning(*orders)
    )


def checkpoint_values(claim: Claim, seconds: float) -> dict[str, Any]:
    """What the statement keeps of a claim whose batch took so many seconds, with the rest before it."""
    values = {
        "migration": claim.migration,
        "number": claim.number,
        "generation": claim.generation,
        "owner": claim.owner.identity,
        "cursor": encoded(claim.cursor),
        "upper": encoded(claim.upper),
        "exhausted": claim.exhausted,
        "sweep": claim.sweep,
        "rows": claim.tally.rows,
        "left_alone": claim.tally.left_alone,
        "batches": claim.tally.batches,
        "size": claim.size,
        "span": claim.span,
        "attempts": claim.attempts,
        "seconds": seconds,
    }
    return {_parameter(name): value for name, value in values.items()}


def orders_columns(tables: Tables) -> tuple[sa.ColumnElement[Any], ...]:
    """Where a migration stands, who has said so, and the pace that is wanted."""
    return tuple(tables.migration.c[name] for name in _WORD)


def read_orders(connection: Connection, tables: Tables, name: str) -> Orders:
    """Where a migration stands now, who has said so, and the pace that is wanted."""
    asked = sa.select(*orders_columns(tables)).where(tables.migration.c.name == name)
    return orders_from(connection.execute(asked).one())


def orders_from(row: Sequence[Any]) -> Orders:
    """What those columns say."""
    state, moved_by, moved_at, reason, tuning = row
    return Orders(Standing(State(state), moved_by, moved_at, reason), tuning_from(tuning))


def _given(table: sa.Table, name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(_parameter(name), type_=table.c[name].type)


def _parameter(column: str) -> str:
    # one with a column's own name would be taken for a value to write
    return f"its_{column}"
