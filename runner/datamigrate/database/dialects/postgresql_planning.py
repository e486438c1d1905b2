"""What PostgreSQL's planner thinks of a statement: how many rows it gives, and which parts of it are slow."""

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.visitors import cloned_traverse, iterate

from datamigrate.database.dialects.postgresql_settings import set_local
from datamigrate.thought.plans import Slow, Walk
from datamigrate.thought.postgresql_plans import Relation, Tables, slow_parts, tables_in, unavoidable

# as the planner reckons it: by statistics, and by the size of what has come since; with what each is a partition of,
# itself first
_TABLES = """
SELECT n.nspname, c.relname, CASE WHEN c.reltuples > 0 AND c.relpages > 0
                                  THEN c.reltuples / c.relpages * (pg_relation_size(c.oid) / 8192.0)
                                  ELSE pg_relation_size(c.oid) / 100.0 END,
       ARRAY(SELECT ARRAY[CAST(an.nspname AS text), CAST(a.relname AS text)]
             FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS above (oid, number)
             JOIN pg_class a ON a.oid = above.oid JOIN pg_namespace an ON an.oid = a.relnamespace ORDER BY number)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN unnest(CAST(:schemas AS text[]), CAST(:names AS text[])) AS asked (schema, name)
ON asked.schema = n.nspname AND asked.name = c.relname
WHERE c.relkind IN ('r', 'p', 'm')
"""

_DISCOURAGED = ("enable_seqscan", "enable_sort")


async def planned_rows(connection: AsyncConnection, query: sa.Select[Any]) -> int:
    """How many rows the planner expects of a query."""
    return int((await _plan(connection, query))["Plan Rows"])


async def unavoidably_slow(
    connection: AsyncConnection, statement: sa.Executable, walk: Walk
) -> tuple[Slow, ...]:
    """What it would read from end to end or sort, and no index that is there would spare."""
    plan = await _plan(connection, statement)
    tables = await _tables(connection, tables_in(plan), _named_in(statement))
    found = slow_parts(plan, tables, walk)
    if not found:
        return ()
    async with connection.begin_nested() as savepoint:
        await connection.execute(sa.select(*(set_local(name, "off") for name in _DISCOURAGED)))
        plan = await _plan(connection, statement)
        await savepoint.rollback()
    return unavoidable(found, plan, tables)


async def _tables(connection: AsyncConnection, read: Iterable[Relation], named: frozenset[str]) -> Tables:
    """What there is to know of tables that are read by a statement in which these names are `named`."""
    asked = sorted(read)
    names = {"schemas": [schema for schema, _ in asked], "names": [name for _, name in asked]}
    sizes: dict[Relation, int] = {}
    wholes: dict[Relation, Relation] = {}
    for schema, name, rows, above in await connection.execute(sa.text(_TABLES), names):
        relation = str(schema), str(name)
        sizes[relation] = int(rows)
        wholes[relation] = next(((s, n) for s, n in above if n in named), relation)
    return Tables(sizes, wholes)


def _named_in(statement: Any) -> frozenset[str]:
    met = [getattr(element, "table", element) for element in iterate(statement)]
    return frozenset(table.name for table in met if isinstance(table, sa.TableClause))


async def _plan(connection: AsyncConnection, statement: Any) -> dict[str, Any]:
    # EXPLAIN takes no parameters, so that every value has to be written out, as what it is in Python
    written_out = cloned_traverse(statement, {}, {"bindparam": _give_type})
    compiled = written_out.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    answer = await connection.scalar(
        sa.text("EXPLAIN (VERBOSE, FORMAT JSON) " + str(compiled).replace(":", "\\:"))
    )
    parsed = json.loads(answer) if isinstance(answer, str) else answer
    # a rule makes several statements of one, or none, or one that has no plan
    plans: list[dict[str, Any]] = [one["Plan"] for one in parsed if "Plan" in one]
    return plans[0] if len(plans) == 1 else {"Plans": plans}


def _give_type(parameter: Any) -> None:
    if isinstance(parameter.value, bytes):
        # SQLAlchemy cannot write bytes out; to the planner any others are as good
        parameter.value, parameter.type = parameter.value.hex(), sa.Text()
    if isinstance(parameter.type, sa.types.NullType):
        parameter.type = sa.literal(parameter.value).type
