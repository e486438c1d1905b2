"""Reading PostgreSQL's query plans: EXPLAIN's JSON, made with VERBOSE."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datamigrate.thought.plans import Slow, Walk, distinct, is_worth_telling

Node = Mapping[str, Any]

Relation = tuple[str, str]
"""A schema, and the name of a table in it."""

_INDEX_SCANS = frozenset({"Index Scan", "Index Only Scan"})
_APPENDS = frozenset({"Append", "Merge Append"})
_JOIN_CONDITIONS = ("Hash Cond", "Merge Cond", "Join Filter")


@dataclass(frozen=True)
class _Seen:
    """A node of a plan where it stands: below what, repeated for every row or not, joined on what.

    What partitions give together is what each gives: below what they are appended, each of them stands.
    """

    node: Node
    parent: Node
    per_row: bool
    joined_on: str = ""


def tables_in(plan: Node) -> frozenset[Relation]:
    """All tables that a plan reads."""
    return frozenset(_relation(seen.node) for seen in _all(plan) if "Relation Name" in seen.node)


def slow_parts(plan: Node, sizes: Mapping[Relation, int], walk: Walk | None = None) -> tuple[Slow, ...]:
    """What is slow in a plan, given how many rows each table has.

    That is a large table read from end to end or sorted for each batch, or one of more than a few rows read
    for each row. Of the table that is walked, an index on its key would spare it.
    """
    found = [slow for seen in _all(plan) if (slow := _slow(seen, sizes, walk)) is not None]
    return tuple(dict.fromkeys(found))


def unavoidable(found: tuple[Slow, ...], discouraged: Node) -> tuple[Slow, ...]:
    """Those that stay in a plan for which reading from end to end and sorting were discouraged.

    The others have their index, and the planner has a reason not to use it: a small table, or a slice that
    is most of it.
    """
    still: set[tuple[str | None, bool]] = {
        (_name(seen.node), False) for seen in _all(discouraged) if _reads_all(seen)
    }
    still |= {
        (_name(table), True)
        for seen in _all(discouraged)
        if _sorts(seen.node) and (table := _sorted_table(seen.node))
    }
    return distinct(slow for slow in found if (slow.table, slow.sorts) in still)


def _slow(seen: _Seen, sizes: Mapping[Relation, int], walk: Walk | None) -> Slow | None:
    if _sorts(seen.node):
        return _slow_sort(seen, sizes, walk)
    if not _reads_all(seen):
        return None
    table, alias = str(seen.node["Relation Name"]), str(seen.node.get("Alias", ""))
    rows = sizes.get(_relation(seen.node), 0)
    if not is_worth_telling(rows, seen.per_row):
        return None
    if walk is not None and table == alias == walk.table and not seen.per_row:
        return Slow(_name(seen.node), rows, False, walk.key)
    # brings sqlglot, which a plan that is quick does without
    from datamigrate.thought.conditions import compared

    own = ("", alias, table)
    columns = compared(str(seen.node.get("Filter", "")), "postgres", own)
    return Slow(
        _name(seen.node), rows, seen.per_row, columns or compared(seen.joined_on, "postgres", own[1:])
    )


def _slow_sort(seen: _Seen, sizes: Mapping[Relation, int], walk: Walk | None) -> Slow | None:
    """Only the walk sorts what it needs but the first rows of; then all rows behind the cursor are sorted."""
    table = _sorted_table(seen.node)
    if walk is None or table is None or table["Relation Name"] != walk.table:
        return None
    rows = sizes.get(_relation(table), 0)
    is_cut = seen.parent.get("Node Type") == "Limit"
    if not is_worth_telling(rows if is_cut else int(seen.node.get("Plan Rows", 0)), per_row=False):
        return None
    return Slow(_name(table), rows, False, walk.key, sorts=True)


def _all(
    node: Node, parent: Node | None = None, per_row: bool = False, joined_on: str = ""
) -> Iterator[_Seen]:
    repeated = per_row or node.get("Parent Relationship") == "SubPlan"
    yield _Seen(node, parent or {}, repeated, joined_on)
    conditions = " AND ".join(str(node[name]) for name in _JOIN_CONDITIONS if name in node)
    for child in node.get("Plans", ()):
        inner = node.get("Node Type") == "Nested Loop" and child.get("Parent Relationship") == "Inner"
        above = parent if node.get("Node Type") in _APPENDS else node
        yield from _all(child, above, repeated or inner, conditions or joined_on)


def _reads_all(seen: _Seen) -> bool:
    kind = seen.node.get("Node Type")
    if kind == "Seq Scan":
        return True
    if kind not in _INDEX_SCANS or "Index Cond" in seen.node:
        return False
    # in the index's order the first rows are found at once, unless a filter has to pass many
    return "Filter" in seen.node or seen.parent.get("Node Type") != "Limit"


def _sorts(node: Node) -> bool:
    return node.get("Node Type") == "Sort"


def _sorted_table(node: Node) -> Node | None:
    """What reads the table below a sort, if it is one alone."""
    found = {_relation(seen.node): seen.node for seen in _all(node) if "Relation Name" in seen.node}
    return next(iter(found.values())) if len(found) == 1 else None


def _relation(node: Node) -> Relation:
    return str(node.get("Schema", "public")), str(node.get("Relation Name", ""))


def _name(node: Node) -> str:
    schema, table = _relation(node)
    return table if schema == "public" else f"{schema}.{table}"
