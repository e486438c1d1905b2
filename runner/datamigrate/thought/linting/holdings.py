"""What is in a collection: its members, one at a place or key, several put together."""

from collections.abc import Iterable, Sequence

from datamigrate.thought.linting.values import Items, Method, Text, Thing, Value, Values

_MOST_MEMBERS = 64


def members(values: Values) -> Values:
    """What a loop over `values` meets: a dict's keys, a query's rows, a collection's members."""
    return tuple(dict.fromkeys(member for value in values for member in _members(value)))


def _members(value: Value) -> Iterable[Value]:
    match value:
        case Items(keys=None, members=several):
            return (alternative for member in several for alternative in member)
        case Items(keys=keys) if keys is not None:
            return (Text(key) for key in keys if key is not None)
        case Thing(kind="rows" | "result"):
            return (value,)
        case Thing(kind="query"):
            return (Thing("rows"),)
        case Method(owner=Thing(kind="rows")):
            return (Thing("rows"),)
    return ()


def at_path(values: Values, path: Sequence[int]) -> Values:
    """What a name gets that takes `values` apart, as in `for name, (a, b) in ...`."""
    for index in path:
        values = at_key(values, index)
    return values


def at_key(values: Values, key: object) -> Values:
    """What `values[key]` can be; an unknown key may be any."""
    found: list[Value] = []
    for value in values:
        if isinstance(value, Items):
            found += _member(value, key)
        elif isinstance(value, Thing) and value.kind in ("rows", "result"):
            found.append(value)
    return tuple(dict.fromkeys(found))


def _member(items: Items, key: object) -> Iterable[Value]:
    if items.keys is not None:
        if key in items.keys:
            return items.members[items.keys.index(key)]
    elif isinstance(key, int) and len(items.members) == items.size and -items.size <= key < items.size:
        return items.members[key]
    return (value for member in items.members for value in member)


def size(values: Values) -> int | None:
    """How many members `values` has; None when that is not known."""
    sizes = {value.size if isinstance(value, Items) else None for value in values}
    return max((s for s in sizes if s is not None), default=None) if sizes and None not in sizes else None


def together(parts: Sequence[Values]) -> Values:
    """One collection of the members of all `parts`, if they are collections."""
    collections = [value for part in parts for value in part if isinstance(value, Items)]
    if not collections:
        kinds = ("rows", "result")
        return tuple(v for part in parts for v in part if isinstance(v, Thing) and v.kind in kinds)
    sizes = [size(part) for part in parts]
    total = None if None in sizes else sum(s for s in sizes if s is not None)
    return (Items(tuple(member for c in collections for member in c.members)[:_MOST_MEMBERS], total),)


def grown(values: Sequence[Value], additions: Sequence[Values]) -> list[Value]:
    """`values`, where each collection has got `additions` too, nobody knows how often."""
    return [
        Items((*value.members, *additions)[:_MOST_MEMBERS], None, _longer(value.keys, len(additions)))
        if isinstance(value, Items)
        else value
        for value in values
    ]


def _longer(keys: tuple[str | None, ...] | None, by: int) -> tuple[str | None, ...] | None:
    return None if keys is None else (*keys, *(None,) * by)[:_MOST_MEMBERS]


def passed_through(arguments: Sequence[Values]) -> Values:
    """Rows and queries that an unknown function was given and may hand on, as `in_batches(query)` does."""
    kinds = ("query", "rows", "result")
    given = [value for values in arguments for value in values]
    return tuple(Thing("rows") for value in given if isinstance(value, Thing) and value.kind in kinds)[:1]
