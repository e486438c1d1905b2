"""What PostgreSQL's planner thinks of a statement: how many rows it gives, and which parts of it are slow."""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.visitors import cloned_traverse

from datamigrate.database.dialects.postgresql_settings import set_local
from datamigrate.thought.plans import Slow, Walk
from datamigrate.thought.postgresql_plans import slow_parts, tables_in, unavoidable

# as the planner reckons it: by statistics, and by the size of what has come since
_SIZES = """
SELECT relname, max(CASE WHEN reltuples > 0 AND relpages > 0
                         THEN reltuples / relpages * (pg_relation_size(oid) / 8192.0)
                         ELSE pg_relation_size(oid) / 100.0 END)
FROM pg_class WHERE relkind IN ('r', 'p', 'm') AND relname = ANY (CAST(:names AS text[])) GROUP BY relname
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
    sizes = await connection.execute(sa.text(_SIZES), {"names": sorted(tables_in(plan))})
    found = slow_parts(plan, {name: int(rows) for name, rows in sizes}, walk)
    if not found:
        return ()
    async with connection.begin_nested() as savepoint:
        await connection.execute(sa.select(*(set_local(name, "off") for name in _DISCOURAGED)))
        plan = await _plan(connection, statement)
        await savepoint.rollback()
    return unavoidable(found, plan)


async def _plan(connection: AsyncConnection, statement: Any) -> dict[str, Any]:
    # EXPLAIN takes no parameters, so that every value has to be written out, as what it is in Python
    written_out = cloned_traverse(statement, {}, {"bindparam": _give_type})
    compiled = written_out.compile(
        dialect=postgresql.dialect(),  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
        compile_kwargs={"literal_binds": True},
    )
    answer = await connection.scalar(
        sa.text("EXPLAIN (VERBOSE, FORMAT JSON) " + str(compiled).replace(":", "\\:"))
    )
    parsed = json.loads(answer) if isinstance(answer, str) else answer
    plan: dict[str, Any] = parsed[0]["Plan"]
    return plan


def _give_type(parameter: Any) -> None:
    if isinstance(parameter.value, bytes):
        # SQLAlchemy cannot write bytes out; to the planner any others are as good
        parameter.value, parameter.type = parameter.value.hex(), sa.Text()
    if isinstance(parameter.type, sa.types.NullType):
        parameter.type = sa.literal(parameter.value).type
