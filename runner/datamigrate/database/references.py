"""Foreign keys of other tables that lead to a table: what becomes of their rows when its rows change."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.named import CLASSES, IS_NAMED, names_of

EMPTYING = ("SET NULL", "SET DEFAULT")
"""What a foreign key may do that leaves nothing of what it was."""

REACHING = ("CASCADE", *EMPTYING)
"""What a foreign key may do by which other rows change too."""


@dataclass(frozen=True)
class Reference:
    """A foreign key: its table and columns, the columns it leads to, and what a change of those does to it.

    `is_indexed` when the rows that a change reaches are found without reading the whole table.
    """

    table: str
    columns: tuple[str, ...]
    referred: tuple[str, ...]
    on_update: str
    on_delete: str
    is_indexed: bool


def references_to(connection: Connection, table: sa.TableClause) -> list[Reference]:
    """Every foreign key that leads to the table."""
    if connection.dialect.name == "sqlite":
        return _of_sqlite(connection, table)
    return [
        Reference(name, tuple(columns), tuple(referred), _ACTIONS[update], _ACTIONS[delete], indexed)
        for name, columns, referred, update, delete, indexed in connection.execute(
            sa.text(_POSTGRESQL), names_of(table)
        )
    ]


_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}

_POSTGRESQL = f"""
SELECT k.conrelid::regclass::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(number, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(number, place)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place),
       k.confupdtype::text, k.confdeltype::text,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
               AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
{CLASSES}
JOIN pg_constraint k ON k.confrelid = c.oid OR k.confrelid IN (SELECT relid FROM pg_partition_tree(c.oid))
WHERE k.contype = 'f'
-- of a key that is the same for every partition, on either side, one is enough
AND (k.confrelid = c.oid OR k.conparentid = 0)
AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = k.conparentid AND p.confrelid = k.confrelid)
AND {IS_NAMED}
ORDER BY 1, 2
"""

_SQLITE = """
SELECT m.name, f.id, f."from", f."to", f.on_update, f.on_delete
FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f
WHERE m.type = 'table' AND lower(f."table") = lower(:name) ORDER BY m.name, f.id, f.seq
"""

# a table's own key is the index of its rows
_SQLITE_INDEXED = """
SELECT 1 FROM pragma_index_list(:table) i JOIN pragma_index_info(i.name) c
WHERE c.seqno = 0 AND c.name = :column AND NOT i.partial
UNION ALL SELECT 1 FROM pragma_table_info(:table) WHERE name = :column AND pk = 1
"""


def _of_sqlite(connection: Connection, table: sa.TableClause) -> list[Reference]:
    keys: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
    for row in connection.execute(sa.text(_SQLITE), {"name": table.name}):
        keys.setdefault((row[0], row[1]), []).append(tuple(row))
    found = []
    for (name, _), rows in keys.items():
        columns, referred = tuple(row[2] for row in rows), tuple(row[3] or "" for row in rows)
        first = {"table": name, "column": columns[0]}
        indexed = connection.scalar(sa.text(_SQLITE_INDEXED), first) is not None
        found.append(Reference(name, columns, referred, rows[0][4], rows[0][5], indexed))
    return found
