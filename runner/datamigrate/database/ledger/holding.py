"""What only the holder of a claim may do with its range. Each step raises Fenced when somebody else has it."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.ledger.clock import now
from datamigrate.database.ledger.ranges import read_claim
from datamigrate.database.ledger.tables import Tables
from datamigrate.words.claim import Claim
from datamigrate.words.errors import Fenced


def beat(connection: Connection, tables: Tables, claim: Claim, /, **kept: Any) -> None:
    """Keep these values of the range, as a sign of life."""
    _keep(connection, tables, claim, heartbeat=now(), **kept)


def renew(connection: Connection, tables: Tables, claim: Claim) -> Claim:
    """Take the claim anew, so that what is under way on the old one is shut out; as the ledger has it then."""
    beat(connection, tables, claim, generation=tables.range.c.generation + 1)
    return read_claim(connection, tables, claim.owner, claim.migration, claim.number)


def release(connection: Connection, tables: Tables, claim: Claim) -> None:
    """Give the range back."""
    _keep(connection, tables, claim, owner=None, heartbeat=None, attempts=0)


def reread(connection: Connection, tables: Tables, claim: Claim) -> Claim:
    """The claim as the ledger has it now."""
    t = tables.range
    held = connection.scalar(sa.select(t.c.number).where(*_ours(tables, claim)))
    _must_be_one(0 if held is None else 1, claim)
    return read_claim(connection, tables, claim.owner, claim.migration, claim.number)


def _keep(connection: Connection, tables: Tables, claim: Claim, /, **values: Any) -> None:
    ours = sa.update(tables.range).where(*_ours(tables, claim))
    _must_be_one(connection.execute(ours.values(values)).rowcount, claim)


def _ours(tables: Tables, claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    t = tables.range
    return (
        t.c.migration == claim.migration,
        t.c.number == claim.number,
        t.c.generation == claim.generation,
        t.c.owner == claim.owner.identity,
    )


def _must_be_one(touched: int, claim: Claim) -> None:
    if touched != 1:
        raise Fenced(
            f"{claim.migration}: another run has taken over while this one was not heard of.",
            "Nothing is lost: the batch under way was rolled back here, and the other run does it.",
        )
