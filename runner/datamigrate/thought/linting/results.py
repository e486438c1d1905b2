"""What calling a builtin, or a method of something known, gives."""

from collections.abc import Iterable, Mapping, Sequence

from datamigrate.thought.linting import holdings as held
from datamigrate.thought.linting.texts import formatted, joined
from datamigrate.thought.linting.values import PLAIN, Imported, Items, Method, Text, Thing, Value, Values
from datamigrate.thought.linting.vocabulary import (
    CORE_VERBS,
    PLAIN_OF_A_QUERY,
    ROWS_OF_A_QUERY,
    SAME_TEXT,
    WRAPS_TEXT,
    is_library,
    made_by,
    makes_session,
)

_SAME_MEMBERS = frozenset({"list", "tuple", "set", "frozenset", "sorted", "reversed", "iter", "filter"})
_HANDING_ON = frozenset({"itertools", "tqdm", "more_itertools"})
_QUERYING = frozenset({"query", "scalars", "execute", "exec", "get", "scalar", "get_one"})
_CONNECTING = frozenset(
    {"get_bind", "connection", "connect", "begin", "begin_nested", "execution_options"}
) | {
    "cursor",
    "raw_connection",
    "__enter__",
    "no_autoflush",
}


def of_builtin(name: str, arguments: Sequence[Values]) -> Values:
    """What a builtin gives, or an unknown function: then nothing."""
    first = arguments[0] if arguments else ()
    if name in _SAME_MEMBERS:
        rows = tuple(v for v in held.members(first) if isinstance(v, Thing) and v.kind in ("rows", "result"))
        return rows or (Items(tuple((m,) for m in held.members(first)), held.size(first)),)
    if name == "enumerate":
        return (Items((((Items((PLAIN, held.members(first)), 2)),),), held.size(first)),)
    if name == "zip":
        pair = Items(tuple(held.members(argument) for argument in arguments), len(arguments))
        return (Items(((pair,),), held.size(first)),)
    if name == "range":
        return (Items((PLAIN,), _range_size(arguments)),)
    if name in ("str", "repr"):
        return first if any(isinstance(value, Text) for value in first) else ()
    if name == "next":
        return held.members(first)
    return PLAIN if name in ("dict", "len", "int", "bool", "print", "open", "type", "super", "map") else ()


def of_import(callee: Imported, arguments: Sequence[Values]) -> Values:
    """What calling something imported gives."""
    if callee.name in WRAPS_TEXT | {"partial"} and arguments:
        return arguments[0]
    if callee.name in CORE_VERBS and not is_library(callee.path):
        return (Thing("perhaps", CORE_VERBS[callee.name]),)
    label = next((v.text for values in arguments for v in values if isinstance(v, Text)), "")
    if callee.name == "import_module" and label:
        return (Imported(label),)
    made = made_by(callee.path, label)
    if made and not (made == PLAIN and callee.root in _HANDING_ON):
        return made
    return held.passed_through(arguments)


def _range_size(arguments: Sequence[Values]) -> int | None:
    numbers = [
        v.label for values in arguments for v in values if isinstance(v, Thing) and v.label.isdecimal()
    ]
    if not numbers or len(numbers) != len(arguments):
        return None
    return len(range(*(int(number) for number in numbers[:3])))


def of_method(
    owner: Value | None, name: str, arguments: Sequence[Values], named: Mapping[str, Values]
) -> Iterable[Value]:
    """What `owner.name(*arguments, **named)` gives."""
    match owner:
        case Text():
            return _of_text(owner, name, arguments, named)
        case Items():
            return _of_items(owner, name, arguments)
        case Thing(kind="session"):
            return _of_session(owner, name)
        case Thing(kind="maker"):
            return (Thing("session"),)
        case Thing(kind="connection"):
            return (owner,) if name in _CONNECTING else (Thing("result"),)
        case Thing(kind="query"):
            return _of_query(owner, name)
        case Thing(kind="rows" | "result"):
            return (owner,) if name in ROWS_OF_A_QUERY else ()
        case Thing(kind="table"):
            return (Thing("statement", CORE_VERBS[name]),) if name in CORE_VERBS else PLAIN
        case Thing(kind="statement"):
            return (owner,)
        case Thing(kind="perhaps", label=label):
            return (Thing("statement", label),)
        case None | Method():
            return _of_unknown(name)
    return ()


def _of_text(text: Text, name: str, arguments: Sequence[Values], named: Mapping[str, Values]) -> Values:
    if name == "format":
        return formatted(text, arguments, named)
    if name == "format_map":
        return formatted(text, (), {})
    if name == "join":
        parts = [member for values in arguments[:1] for v in values for member in _pieces(v)]
        between: list[Values] = [(text,)] * (2 * len(parts) - 1)
        between[::2] = parts
        return joined(between) if parts else ()
    if name in ("split", "splitlines", "partition"):
        mark = next((v.text for values in arguments for v in values if isinstance(v, Text)), None)
        return (Items(tuple((Text(piece),) for piece in text.text.split(mark or None)[:64]), None),)
    return (text,) if name in SAME_TEXT else PLAIN


def _pieces(value: Value) -> Sequence[Values]:
    return value.members if isinstance(value, Items) and value.keys is None else ()


def _of_items(items: Items, name: str, arguments: Sequence[Values]) -> Values:
    if name == "values":
        return (Items(items.members, items.size),)
    if name == "items":
        keys = items.keys or (None,) * len(items.members)
        pairs = (
            Items(((Text(key),) if key is not None else (), member), 2)
            for key, member in zip(keys, items.members, strict=False)
        )
        return (Items(tuple((pair,) for pair in pairs), items.size),)
    if name in ("get", "pop"):
        wanted = [v.text for values in arguments[:1] for v in values if isinstance(v, Text)]
        found = held.at_key((items,), wanted[0] if len(wanted) == 1 else None)
        return (*found, *(v for values in arguments[1:] for v in values))
    return (items,) if name in ("copy", "union") else PLAIN


def _of_session(session: Thing, name: str) -> Values:
    if name == "query":
        return (Thing("query"),)
    if name in _QUERYING:
        return (Thing("rows"),)
    if name in ("get_bind", "connection"):
        return (Thing("connection"),)
    return (session,) if name in _CONNECTING else PLAIN


def _of_query(query: Thing, name: str) -> Values:
    if name in ROWS_OF_A_QUERY:
        return (Thing("rows"),)
    if name in CORE_VERBS:
        return (Thing("statement", CORE_VERBS[name]),)
    return PLAIN if name in PLAIN_OF_A_QUERY else (query,)


def _of_unknown(name: str) -> Values:
    if name in CORE_VERBS:
        return (Thing("perhaps", CORE_VERBS[name]),)
    if name == "query":
        return (Thing("query"),)
    if makes_session(name):
        return (Thing("session"),)
    if name in ("get_bind", "connect", "raw_connection", "cursor"):
        return (Thing("connection"),)
    return ()
