"""Reading SQLite's query plans: the lines of EXPLAIN QUERY PLAN.

sqlglot reads the statement of a plan that may be slow. To import it takes as long as some whole commands, so that
the others do without.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from datamigrate.thought.plans import Slow, Walk, distinct, is_worth_telling

_READS = re.compile(r"(?:SCAN|SEARCH)(?: TABLE)? (?P<what>.*)", re.DOTALL)
_AUTOMATIC = re.compile(r"AUTOMATIC.*INDEX \((?P<terms>.*)\)", re.DOTALL)
_COMPARED = re.compile(r"(?:^| AND )(.+?)=\?", re.DOTALL)
_CONSPICUOUS = re.compile("SCAN|AUTOMATIC|USE TEMP B-TREE")
_SORT = re.compile(r"USE TEMP B-TREE FOR (?:LAST|RIGHT|ORDER)")


@dataclass(frozen=True)
class Step:
    """A line of a plan, and the number of the line it belongs to."""

    id: int
    parent: int
    detail: str


def tables_in(sql: str) -> Mapping[str, str]:
    """The tables that a statement names, by the alias each has there."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(sql, dialect="sqlite")
    except SqlglotError:
        return {}
    return {table.alias_or_name: table.name for table in tree.find_all(exp.Table)}


def may_be_slow(steps: Sequence[Step], sql: str) -> bool:
    """Whether anything in the plan of `sql` is worth a closer look. What stops at the first rows of an index is
    not, although the plan says that it is scanned."""
    words = frozenset(sql.upper().split())
    takes_the_first = "LIMIT" in words and "WHERE" not in words
    is_sorted = any(_SORT.match(step.detail) for step in steps)
    return any(_CONSPICUOUS.search(step.detail) for step in steps) and (is_sorted or not takes_the_first)


def slow_steps(
    steps: Sequence[Step], sql: str, sizes: Mapping[str, int], walk: Walk | None = None
) -> tuple[Slow, ...]:
    """What is slow in the plan of `sql`, given how many rows each table has.

    That is a large table read from end to end or sorted for each batch, or one of more than a few rows read
    for each row. An index that SQLite would make for the one statement counts as reading.
    """
    return distinct(_slow(steps, sql, sizes, walk)) if may_be_slow(steps, sql) else ()


def _slow(steps: Sequence[Step], sql: str, sizes: Mapping[str, int], walk: Walk | None) -> Iterator[Slow]:
    names, parents = tables_in(sql), {step.id: step for step in steps}
    for step in steps:
        if walk is not None and step.parent == 0 and _SORT.match(step.detail):
            rows = sizes.get(walk.table, 0)
            if is_worth_telling(rows, per_row=False):
                yield Slow(walk.table, rows, False, walk.key, sorts=True, online=False)
            continue
        name = _read_by(step, names)
        if name is None:
            continue
        table, made = names[name], _AUTOMATIC.search(step.detail)
        if step.detail.startswith("SEARCH") and not made:
            continue
        per_row = not made and _is_repeated(step, parents)
        rows = sizes.get(table, 0)
        if not is_worth_telling(rows, per_row):
            continue
        if walk is not None and name == walk.table and step.parent == 0:
            columns = walk.key
        elif made:
            columns = tuple(_COMPARED.findall(made["terms"]))
        else:
            columns = _compared_with(sql, name)
        yield Slow(table, rows, per_row, columns, online=False)


def _read_by(step: Step, names: Iterable[str]) -> str | None:
    """Which of these names a line reads. It stands there without quotes, and words of the plan behind it."""
    found = _READS.match(step.detail)
    what = f"{found['what']} " if found else ""
    return max((name for name in names if what.startswith(f"{name} ")), key=len, default=None)


def _is_repeated(step: Step, parents: Mapping[int, Step]) -> bool:
    above = parents.get(step.parent)
    return above is not None and (above.detail.startswith("CORRELATED") or _is_repeated(above, parents))


def _compared_with(sql: str, name: str) -> tuple[str, ...]:
    """What the innermost query over a table, given by its name there, compares its columns with."""
    import sqlglot
    from sqlglot import exp

    from datamigrate.thought.conditions import compared

    for query in sqlglot.parse_one(sql, dialect="sqlite").find_all(exp.Select):
        here = [table.alias_or_name for table in query.find_all(exp.Table)]
        if here == [name] and (where := query.args.get("where")):
            return compared(where.this.sql("sqlite"), "sqlite", ("", name))
    return ()
