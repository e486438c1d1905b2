"""The lock under which a migration moves: on its row, which all take first and in the same order."""

from typing import Any

import sqlalchemy as sa

from datamigrate.database.ledger.tables import Tables


def locked(tables: Tables, name: str) -> sa.Select[Any]:
    """Where a migration stands, and with which text; nobody else moves it until the transaction ends."""
    t = tables.migration
    return sa.select(t.c.state, t.c.checksum).where(t.c.name == name).with_for_update()
