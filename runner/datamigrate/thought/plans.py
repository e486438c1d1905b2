"""What a database would do again and again for every batch or row, and the index that would spare it that."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

MANY_ROWS = 10_000
"""A table of fewer rows may be read or sorted for every batch."""

PER_ROW = 200
"""A table of fewer rows may be read for every row."""

LONGEST_NAME = 63

PART_BY_PART = (
    "Who writes waits while it is made, unless each partition has been given such an index CONCURRENTLY before: that of "
    "the whole takes those over."
)
"""What is to be known of an index on a partitioned table."""

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class Walk:
    """The table that is walked, and the columns of its key."""

    table: str
    key: tuple[str, ...]


@dataclass(frozen=True)
class Slow:
    """A table that is read from end to end or sorted, once per batch or once per row, and the columns of an
    index that would help. `online` where the database can create one without locking writers out; a table that
    is `partitioned` gets one in each of its parts."""

    table: str
    rows: int
    per_row: bool
    columns: tuple[str, ...] = ()
    sorts: bool = False
    online: bool = True
    schema: str = ""
    partitioned: bool = False

    def __str__(self) -> str:
        often = "for every row of a batch" if self.per_row else "for every batch"
        does = f"sorts {self.label}" if self.sorts else f"reads all of {self.label}"
        return f"{does} ({self.size}) {often}"

    @property
    def label(self) -> str:
        """The table for a person, with its schema where that is not the usual one."""
        return f"{self.schema}.{self.table}" if self.schema else self.table

    @property
    def size(self) -> str:
        """How many rows the table has; there may be more than were counted."""
        return f"{self.rows:,} rows or more" if self.rows == MANY_ROWS else f"about {self.rows:,} rows"

    @property
    def index(self) -> str:
        """The name of the index that would help."""
        return f"ix_{self.table}_{'_'.join(self.columns)}"[:LONGEST_NAME]

    @property
    def sql(self) -> str:
        """The index as SQL."""
        online = " CONCURRENTLY" if self.is_made_online else ""
        table = ".".join(_quoted(part) for part in (self.schema, self.table) if part)
        columns = ", ".join(_quoted(column) for column in self.columns)
        return f"CREATE INDEX{online} {_quoted(self.index)} ON {table} ({columns})"

    @property
    def revision(self) -> str:
        """The index as a line of an Alembic revision."""
        columns = ", ".join(_in_python(column) for column in self.columns)
        schema = f", schema={_in_python(self.schema)}" if self.schema else ""
        online = ", postgresql_concurrently=True" if self.is_made_online else ""
        names = f"{_in_python(self.index)}, {_in_python(self.table)}"
        return f"op.create_index({names}, [{columns}]{schema}{online})"

    @property
    def is_made_online(self) -> bool:
        """Whether the index can be made by one statement that locks nobody out."""
        return self.online and not self.partitioned


def _quoted(name: str) -> str:
    # of the dialects that sqlglot knows, Redshift's is the one that lists reserved words, those of PostgreSQL too
    from sqlglot import exp  # takes a while, and most commands do without

    return exp.to_identifier(name, quoted=not _PLAIN.fullmatch(name)).sql("redshift")


def _in_python(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def distinct(found: Iterable[Slow]) -> tuple[Slow, ...]:
    """One for each index that is missing, a sort before a reading."""
    by_index: dict[object, Slow] = {}
    for slow in sorted(found, key=lambda slow: not slow.sorts):
        by_index.setdefault((slow.schema, slow.table, slow.columns or slow.per_row), slow)
    return tuple(by_index.values())


def remedy(slow: Slow) -> tuple[str, ...]:
    """What helps, a line each; those that are code are indented."""
    if not slow.columns:
        return ()
    where = "In an Alembic revision"
    if slow.is_made_online:
        where += ", inside `with op.get_context().autocommit_block():`"
    lines = ("An index would help:", f"  {slow.sql};", f"{where}:", f"  {slow.revision}")
    return (*lines, PART_BY_PART) if slow.partitioned else lines


def is_worth_telling(rows: int, per_row: bool) -> bool:
    """Whether a table of so many rows is too large to be read as often."""
    return rows >= (PER_ROW if per_row else MANY_ROWS)
