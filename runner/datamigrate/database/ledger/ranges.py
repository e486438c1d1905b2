"""The ranges of a migration in the ledger: who is at work on which, cutting one into several, folding all
into one. Each function is a step in the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.ledger.clock import ago, now
from datamigrate.database.ledger.tables import Tables
from datamigrate.thought.codec import decode_key, encode_key
from datamigrate.words.claim import Claim, Owner, Tally
from datamigrate.words.migration import Bounds, Key


@dataclass(frozen=True)
class Range:
    """One range as it stands; `fresh` when its owner was heard of lately. `cursor` and `upper` are keys."""

    number: int
    generation: int
    owner: str | None
    fresh: bool
    exhausted: bool
    cursor: Key | None
    upper: Key | None
    size: int
    span: int

    @property
    def bounds(self) -> Bounds | None:
        """What is left of it; None when that is not known yet, or nothing."""
        return None if self.upper is None or self.exhausted else Bounds(self.cursor, self.upper)

    def is_free(self, *gone: str) -> bool:
        """Whether nobody is at work on it; owners that are `gone` do not count."""
        return self.owner is None or not self.fresh or self.owner in gone


def read_ranges(connection: Connection, tables: Tables, name: str, expiry: float) -> tuple[Range, ...]:
    """All ranges of a migration by number; owners not heard of for `expiry` seconds are not fresh."""
    t = tables.range
    found = connection.execute(
        sa.select(t, (t.c.heartbeat >= ago(expiry)).label("fresh"))
        .where(t.c.migration == name)
        .order_by(t.c.number)
    )
    return tuple(
        Range(
            r.number,
            r.generation,
            r.owner,
            bool(r.fresh),
            r.exhausted,
            decoded(r.cursor),
            decoded(r.upper),
            r.size,
            r.span,
        )
        for r in found
    )


def held_still(connection: Connection, tables: Tables, name: str, it: Range) -> Range | None:
    """The range with the cursor and the size of a batch that it has now, which stay until the transaction ends; None
    when it has another owner or end by now."""
    t = tables.range
    now = sa.select(t.c.cursor, t.c.size, t.c.span).where(*_as_known(tables, name, it)).with_for_update()
    row = connection.execute(now).one_or_none()
    return replace(it, cursor=decoded(row.cursor), size=row.size, span=row.span) if row else None


def occupy(connection: Connection, tables: Tables, owner: Owner, name: str, number: int) -> Claim:
    """Make a range ours, with a new generation that fences out whoever had it."""
    t = tables.range
    mine = (t.c.migration == name, t.c.number == number)
    connection.execute(
        sa.update(t)
        .where(*mine)
        .values(
            owner=owner.identity,
            generation=t.c.generation + 1,
            heartbeat=now(),
            attempts=t.c.attempts + 1,
        )
    )
    return read_claim(connection, tables, owner, name, number)


def read_claim(connection: Connection, tables: Tables, owner: Owner, name: str, number: int) -> Claim:
    """A range as its owner's claim."""
    t = tables.range
    row = connection.execute(sa.select(t).where(t.c.migration == name, t.c.number == number)).one()
    return Claim(
        migration=name,
        number=row.number,
        generation=row.generation,
        owner=owner,
        cursor=decoded(row.cursor),
        upper=decoded(row.upper),
        exhausted=row.exhausted,
        sweep=row.sweep,
        tally=Tally(row.rows, row.left_alone, row.batches),
        size=row.size,
        span=row.span,
        attempts=row.attempts,
    )


def cut(connection: Connection, tables: Tables, name: str, it: Range | Claim, points: Sequence[Key]) -> bool:
    """Cut a range at these keys, in order: it keeps the first part, and nobody has the others yet.

    False, and nothing is changed, when its owner has got on meanwhile.
    """
    t = tables.range
    shortened = connection.execute(
        sa.update(t)
        .where(*_as_known(tables, name, it), t.c.cursor.is_not_distinct_from(encoded(it.cursor)))
        .values(upper=encoded(points[0]))
    )
    if shortened.rowcount != 1:
        return False
    last = connection.scalar(sa.select(sa.func.max(t.c.number)).where(t.c.migration == name)) or 0
    sweep = connection.scalar(sa.select(t.c.sweep).where(t.c.migration == name, t.c.number == it.number))
    connection.execute(
        sa.insert(t),
        [
            {
                "migration": name,
                "number": number,
                "cursor": encoded(lower),
                "upper": encoded(upper),
                "sweep": sweep,
                "size": it.size,
                "span": it.span,
            }
            for number, (lower, upper) in enumerate(
                zip(points, [*points[1:], it.upper], strict=True), start=last + 1
            )
        ],
    )
    return True


def _as_known(tables: Tables, name: str, it: Range | Claim) -> tuple[sa.ColumnElement[bool], ...]:
    # with the owner and the end that it had when it was read, wherever it has got to
    t = tables.range
    return (
        t.c.migration == name,
        t.c.number == it.number,
        t.c.generation == it.generation,
        t.c.upper == encoded(it.upper),
        t.c.exhausted.is_(False),
    )


def fold(connection: Connection, tables: Tables, name: str, /, **values: Any) -> None:
    """Make one range of all, with their counts together, and with these values."""
    t = tables.range
    sums = (sa.func.sum(c).label(c.name) for c in (t.c.rows, t.c.left_alone, t.c.batches, t.c.seconds))
    tops = (sa.func.max(c).label(c.name) for c in (t.c.generation, t.c.sweep, t.c.size, t.c.span))
    found = connection.execute(sa.select(*sums, *tops).where(t.c.migration == name)).one()._asdict()
    # PostgreSQL's sum of whole numbers is a decimal
    together = {n: float(v) if n == "seconds" else int(v) for n, v in found.items()}
    together |= {"generation": together["generation"] + 1, "attempts": 0}
    connection.execute(sa.delete(t).where(t.c.migration == name, t.c.number > 0))
    connection.execute(
        sa.update(t).where(t.c.migration == name).values(together | {"cursor": None, "upper": None} | values)
    )


def fence(connection: Connection, tables: Tables, name: str) -> None:
    """Send whoever holds a claim away: by the next sign of life he learns that it is worth nothing any more."""
    t = tables.range
    connection.execute(
        sa.update(t)
        .where(t.c.migration == name)
        .values(owner=None, heartbeat=None, generation=t.c.generation + 1, attempts=0)
    )


def encoded(key: Key | None) -> str | None:
    """A key as the ledger keeps it."""
    return None if key is None else encode_key(key)


def decoded(text: str | None) -> Key | None:
    """The key that was kept."""
    return None if text is None else decode_key(text)
