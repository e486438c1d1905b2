"""Reading a database's query plan: what in it would be done again and again for every batch or row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

MANY_ROWS = 10_000
PER_ROW = 200


@dataclass(frozen=True)
class Slow:
    """A table that is read from end to end, once per batch or once per row, and an index that would help."""

    table: str
    rows: int
    per_row: bool
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        often = "for every row of a batch" if self.per_row else "for every batch"
        return f"reads all of {self.table} (about {self.rows:,} rows) {often}"

    @property
    def index(self) -> str:
        """The name of the index that would help."""
        return f"ix_{self.table.rpartition('.')[2]}_{'_'.join(self.columns)}"

    @property
    def sql(self) -> str:
        """The index as SQL."""
        return f"CREATE INDEX CONCURRENTLY {self.index} ON {self.table} ({', '.join(self.columns)})"

    @property
    def revision(self) -> str:
        """The index as a line of an Alembic revision."""
        columns = ", ".join(f'"{column}"' for column in self.columns)
        return f'op.create_index("{self.index}", "{self.table}", [{columns}], postgresql_concurrently=True)'


def slow_parts(plan: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Slow, ...]:
    """What is slow in a PostgreSQL plan (EXPLAIN's JSON), given how many rows each table has.

    A sequential scan of a large table for each batch, or of more than a few rows for each row.
    """
    found = (_slow(node, per_row, sizes) for node, per_row in _scans(plan, False))
    return tuple(dict.fromkeys(slow for slow in found if slow is not None))


def _scans(node: Mapping[str, Any], per_row: bool) -> Iterator[tuple[Mapping[str, Any], bool]]:
    repeated = per_row or node.get("Parent Relationship") == "SubPlan"
    if node.get("Node Type") in ("Seq Scan", "Parallel Seq Scan"):
        yield node, repeated
    for child in node.get("Plans", ()):
        yield from _scans(child, repeated)


def _slow(node: Mapping[str, Any], per_row: bool, sizes: Mapping[str, int]) -> Slow | None:
    table = str(node["Relation Name"])
    rows = sizes.get(table, 0)
    if rows < (PER_ROW if per_row else MANY_ROWS):
        return None
    return Slow(table, rows, per_row, _compared(str(node.get("Filter", "")), node))


def _compared(condition: str, node: Mapping[str, Any]) -> tuple[str, ...]:
    """The scanned table's columns that the filter compares with something from outside."""
    try:
        tree = sqlglot.parse_one(condition, dialect="postgres") if condition else None
    except SqlglotError:
        return ()
    if tree is None:
        return ()
    own = {"", str(node.get("Alias", "")), str(node["Relation Name"])}
    columns: Sequence[exp.Column] = [
        column
        for equality in tree.find_all(exp.EQ)
        for column in equality.find_all(exp.Column)
        if column.table in own
    ]
    return tuple(dict.fromkeys(column.name for column in columns))
