"""What a batch costs at the beginning of a table and at its end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import sqlalchemy as sa

from bench.grounds import PostgreSQLGround
from bench.jobs import Contender
from bench.races import Say
from bench.running import Failed, run

POINTS = 50  # that a plot shows
SPARSENESS = 100_000
BATCH = ("--batch-size", "5000")


@dataclass(frozen=True)
class Case:
    """A kind of key, how it is made of a number `i`, and which of the numbers are pending."""

    name: str
    title: str
    columns: str
    values: str = "i"
    key: str = "id"
    every: int = 1
    options: tuple[str, ...] = BATCH

    @property
    def contender(self) -> Contender:
        """The script that walks it."""
        return Contender("keys", self.name, f"ours_{self.name}.py", self.options)


CASES = (
    Case("dense", "numbers, every row pending", "id bigint"),
    Case("sparse", "numbers, one row in 100,000 pending", "id bigint", every=SPARSENESS, options=()),
    Case("uuids", "random UUIDs, every row pending", "id uuid", "md5(i::text)::uuid"),
    Case("composite", "two columns, every row pending", "tenant int, id bigint", "i % 100, i", "tenant, id"),
)


def walk(ground: PostgreSQLGround, rows: int, say: Say) -> list[dict[str, Any]]:
    """Every case on a table of so many rows. Raises Failed.

    There is nothing to compare where few rows are pending, which are done in one batch. What it takes as a whole is compared
    with one scan.
    """
    return [_walked(case, ground, rows, say) for case in CASES]


def _walked(case: Case, ground: PostgreSQLGround, rows: int, say: Say) -> dict[str, Any]:
    table = f"keys_{case.name}"
    ground.clear()
    ground.execute(
        f"CREATE TABLE {table} ({case.columns}, done int NOT NULL, filler text NOT NULL, PRIMARY KEY ({case.key}))",
        f"INSERT INTO {table} SELECT {case.values}, CASE WHEN i % {case.every} = 0 THEN 0 ELSE 1 END, "
        f"repeat('x', 40) FROM generate_series(1, {rows}) i",
    )
    ground.settle()
    scan = _index_scan(ground, table, case.key)
    result = run(case.contender, ground, rows)
    if left := ground.scalar(f"SELECT count(*) FROM {table} WHERE done = 0"):
        raise Failed(f"keys, {case.name}: {left} rows are not done")
    ground.execute(f"DROP TABLE {table}")
    costs = _costs(result.batches, case.every > 1)
    say(f"position, {case.title}: {len(result.batches)} batches in {result.seconds:.2f} s")
    return {
        "name": case.name,
        "title": case.title,
        "rows": rows,
        "batches": len(result.batches),
        "seconds": round(result.seconds, 3),
        "index_scan_seconds": round(scan, 3),
        "growth": _growth(costs) if case.every == 1 else None,
        "milliseconds": [round(cost * 1000, 3) for cost in _thinned(costs)],
    }


def _costs(batches: Sequence[dict[str, Any]], sparse: bool) -> list[float]:
    """Seconds of each batch; where rows are dense those that are full, the first apart, which looks twice."""
    seconds = [batch["seconds"] for batch in batches[1:]]
    return seconds if sparse or len(seconds) < 2 else seconds[:-1]


def _growth(costs: Sequence[float]) -> float | None:
    """The median of the last tenth over that of the first; None where there are too few to say."""
    tenth = len(costs) // 10
    return round(median(costs[-tenth:]) / median(costs[:tenth]), 3) if tenth else None


def _thinned(costs: Sequence[float]) -> list[float]:
    """At most so many points: medians of neighbours."""
    size = max(1, -(-len(costs) // POINTS))
    return [median(costs[i : i + size]) for i in range(0, len(costs), size)]


def _index_scan(ground: PostgreSQLGround, table: str, key: str) -> float:
    """Seconds of one look at every row in the order of the key."""
    with ground.engine.connect() as connection:
        for setting in ("enable_seqscan", "enable_sort"):
            connection.execute(sa.text(f"SET {setting} = off"))
        began = time.monotonic()
        connection.execute(
            sa.text(
                f"SELECT count(*) FROM (SELECT done FROM {table} ORDER BY {key} OFFSET 0) t WHERE done = 0"
            )
        )
        return time.monotonic() - began
