"""Reading PostgreSQL's query plans: EXPLAIN's JSON, made with VERBOSE."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from datamigrate.thought.plans import Slow, Walk, distinct, is_worth_telling

Node = Mapping[str, Any]

Relation = tuple[str, str]
"""A schema, and the name of a table in it."""

USUAL_SCHEMA = "public"

_INDEX_SCANS = frozenset({"Index Scan", "Index Only Scan"})
_APPENDS = frozenset({"Append", "Merge Append"})
_JOIN_CONDITIONS = ("Hash Cond", "Merge Cond", "Join Filter")


@dataclass(frozen=True)
class Tables:
    """How many rows each table has that a plan reads, and, of partitions, the `wholes` that the statement names."""

    sizes: Mapping[Relation, int]
    wholes: Mapping[Relation, Relation] = field(default_factory=dict)

    def whole(self, relation: Relation) -> Relation:
        """The table of which this one is a partition, or itself."""
        return self.wholes.get(relation, relation)

    def rows(self, whole: Relation) -> int:
        """Of all that a plan reads of a table."""
        return sum(size for relation, size in self.sizes.items() if self.whole(relation) == whole)


@dataclass(frozen=True)
class _Seen:
    """A node of a plan where it stands: below what, repeated for every row or not, joined on what.

    What partitions give together is what each gives: below what they are appended, each of them stands.
    """

    node: Node
    parent: Node
    per_row: bool
    joined_on: str = ""


@dataclass(frozen=True)
class _Part:
    """What is slow about one table, itself or as a part of a whole, where so many of its rows matter."""

    relation: Relation
    whole: Relation
    rows: int
    per_row: bool
    columns: tuple[str, ...]
    matter: int
    sorts: bool = False

    @property
    def alike(self) -> tuple[object, ...]:
        """What partitions of one table have in common that are slow for the same reason."""
        return self.whole, self.per_row, self.columns, self.sorts


def tables_in(plan: Node) -> frozenset[Relation]:
    """All tables that a plan reads."""
    return frozenset(_relation(seen.node) for seen in _all(plan) if "Relation Name" in seen.node)


def slow_parts(plan: Node, tables: Tables, walk: Walk | None = None) -> tuple[Slow, ...]:
    """What is slow in a plan.

    That is a large table read from end to end or sorted for each batch, or one of more than a few rows read
    for each row. Of the table that is walked, an index on its key would spare it. A partition is named by
    itself where no other is slow.
    """
    found: dict[object, dict[Relation, _Part]] = {}
    for seen in _all(plan):
        for part in _slow(seen, tables, walk):
            found.setdefault(part.alike, {}).setdefault(part.relation, part)
    together = [tuple(parts.values()) for parts in found.values()]
    return tuple(_told(parts) for parts in together if _are_worth_telling(parts))


def unavoidable(found: tuple[Slow, ...], discouraged: Node, tables: Tables) -> tuple[Slow, ...]:
    """Those that stay in a plan for which reading from end to end and sorting were discouraged.

    The others have their index, and the planner has a reason not to use it: a small table, or a slice that
    is most of it.
    """
    read = {(_relation(seen.node), False) for seen in _all(discouraged) if _reads_all(seen)}
    sorted_ = {
        (relation, True)
        for seen in _all(discouraged)
        if _sorts(seen.node)
        for relation in _sorted_parts(seen.node, tables)
    }
    still = {(name, sorts) for one, sorts in read | sorted_ for name in (one, tables.whole(one))}
    return distinct(s for s in found if ((s.schema or USUAL_SCHEMA, s.table), s.sorts) in still)


def _told(parts: tuple[_Part, ...]) -> Slow:
    one, several = parts[0], len(parts) > 1
    schema, table = one.whole if several else one.relation
    return Slow(
        table,
        sum(part.rows for part in parts),
        one.per_row,
        one.columns,
        one.sorts,
        schema="" if schema == USUAL_SCHEMA else schema,
        partitioned=several,
    )


def _are_worth_telling(parts: tuple[_Part, ...]) -> bool:
    return is_worth_telling(sum(part.matter for part in parts), parts[0].per_row)


def _slow(seen: _Seen, tables: Tables, walk: Walk | None) -> Iterator[_Part]:
    if _sorts(seen.node):
        yield from _slow_sort(seen, tables, walk)
        return
    relation = _relation(seen.node)
    whole = tables.whole(relation)
    if not _reads_all(seen) or not is_worth_telling(tables.rows(whole), seen.per_row):
        return
    rows = tables.sizes.get(relation, 0)
    is_walk = walk is not None and not seen.per_row and _is_walked(seen.node, whole, walk)
    columns = walk.key if walk is not None and is_walk else _compared(seen)
    yield _Part(relation, whole, rows, seen.per_row, columns, matter=rows)


def _slow_sort(seen: _Seen, tables: Tables, walk: Walk | None) -> Iterator[_Part]:
    """Only the walk sorts what it needs but the first rows of; then all rows behind the cursor are sorted."""
    is_cut = seen.parent.get("Node Type") == "Limit"
    left = int(seen.node.get("Plan Rows", 0))
    for relation in _sorted_parts(seen.node, tables):
        whole, rows = tables.whole(relation), tables.sizes.get(relation, 0)
        if walk is not None and whole[1] == walk.table:
            yield _Part(relation, whole, rows, False, walk.key, rows if is_cut else left, sorts=True)
        left = 0


def _is_walked(node: Node, whole: Relation, walk: Walk) -> bool:
    """Whether it is the table that is walked, and not met for another reason. A partition is called by the name
    that the statement has for the whole, and a number."""
    alias = str(node.get("Alias", ""))
    if whole != _relation(node):
        alias = re.sub(r"_\d+$", "", alias)
    return whole[1] == alias == walk.table


def _compared(seen: _Seen) -> tuple[str, ...]:
    # brings sqlglot, which a plan that is quick does without
    from datamigrate.thought.conditions import compared

    alias, table = str(seen.node.get("Alias", "")), _relation(seen.node)[1]
    own = ("", alias, table)
    columns = compared(str(seen.node.get("Filter", "")), "postgres", own)
    return columns or compared(seen.joined_on, "postgres", own[1:])


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


def _sorted_parts(node: Node, tables: Tables) -> tuple[Relation, ...]:
    """What is read below a sort, if that is one table alone, or partitions of one."""
    found = tuple(dict.fromkeys(_relation(seen.node) for seen in _all(node) if "Relation Name" in seen.node))
    return found if len({tables.whole(relation) for relation in found}) == 1 else ()


def _relation(node: Node) -> Relation:
    return str(node.get("Schema", USUAL_SCHEMA)), str(node.get("Relation Name", ""))
