"""Reading SQLite's query plans: the lines of EXPLAIN QUERY PLAN."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from datamigrate.thought.conditions import compared
from datamigrate.thought.plans import Slow, Walk, distinct, is_worth_telling

_TABLE = re.compile(r"(?:SCAN|SEARCH)(?: TABLE)? (?P<name>\w+)(?P<rest>.*)")
_AUTOMATIC = re.compile(r"AUTOMATIC.*INDEX \((?P<terms>.*)\)")
_SORT = re.compile(r"USE TEMP B-TREE FOR (?:LAST|RIGHT|ORDER)")


@dataclass(frozen=True)
class Step:
    """A line of a plan, and the number of the line it belongs to."""

    id: int
    parent: int
    detail: str


def tables_in(sql: str) -> Mapping[str, str]:
    """The tables that a statement names, by the alias each has there."""
    try:
        tree = sqlglot.parse_one(sql, dialect="sqlite")
    except SqlglotError:
        return {}
    return {table.alias_or_name: table.name for table in tree.find_all(exp.Table)}


def slow_steps(
    steps: Sequence[Step], sql: str, sizes: Mapping[str, int], walk: Walk | None = None
) -> tuple[Slow, ...]:
    """What is slow in the plan of `sql`, given how many rows each table has.

    That is a large table read from end to end or sorted for each batch, or one of more than a few rows read
    for each row. An index that SQLite would make for the one statement counts as reading.
    """
    if _takes_the_first(steps, sql):
        return ()
    return distinct(_slow(steps, sql, sizes, walk))


def _takes_the_first(steps: Sequence[Step], sql: str) -> bool:
    """Whether it stops at the first rows of an index, of which the plan says that it is scanned."""
    try:
        tree = sqlglot.parse_one(sql, dialect="sqlite")
    except SqlglotError:
        return False
    bounded = bool(tree.args.get("limit")) and not tree.args.get("where")
    return bounded and not any(_SORT.match(step.detail) for step in steps)


def _slow(steps: Sequence[Step], sql: str, sizes: Mapping[str, int], walk: Walk | None) -> Iterator[Slow]:
    names, parents = tables_in(sql), {step.id: step for step in steps}
    for step in steps:
        if walk is not None and step.parent == 0 and _SORT.match(step.detail):
            rows = sizes.get(walk.table, 0)
            if is_worth_telling(rows, per_row=False):
                yield Slow(walk.table, rows, False, walk.key, sorts=True, online=False)
            continue
        found = _TABLE.match(step.detail)
        if found is None or found["name"] not in names:
            continue
        table, made = names[found["name"]], _AUTOMATIC.search(found["rest"])
        if step.detail.startswith("SEARCH") and not made:
            continue
        per_row = not made and _is_repeated(step, parents)
        rows = sizes.get(table, 0)
        if not is_worth_telling(rows, per_row):
            continue
        if walk is not None and found["name"] == walk.table and step.parent == 0:
            columns = walk.key
        elif made:
            columns = tuple(re.findall(r"(\w+)=", made["terms"]))
        else:
            columns = _compared_with(sql, found["name"])
        yield Slow(table, rows, per_row, columns, online=False)


def _is_repeated(step: Step, parents: Mapping[int, Step]) -> bool:
    above = parents.get(step.parent)
    return above is not None and (above.detail.startswith("CORRELATED") or _is_repeated(above, parents))


def _compared_with(sql: str, name: str) -> tuple[str, ...]:
    """What the innermost query over a table, given by its name there, compares its columns with."""
    for query in sqlglot.parse_one(sql, dialect="sqlite").find_all(exp.Select):
        here = [table.alias_or_name for table in query.find_all(exp.Table)]
        if here == [name] and (where := query.args.get("where")):
            return compared(where.this.sql("sqlite"), "sqlite", ("", name))
    return ()
