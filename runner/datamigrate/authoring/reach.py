"""Does a script reach past the connection it is lent, to where nobody can undo what it does?"""

import ast
from collections.abc import Iterator

_DRIVERS = frozenset({"aiosqlite", "asyncpg", "psycopg", "psycopg2", "sqlite3"})
_PAST_THE_RUNNER = frozenset(
    {
        "create_async_engine",
        "create_engine",
        "dbapi_connection",
        "driver_connection",
        "get_raw_connection",
        "raw_connection",
    }
)


def reaches_past(source: str) -> tuple[str, ...]:
    """The names by which a script's text gets at a driver's connection or makes one of its own."""
    names = {name for node in ast.walk(ast.parse(source)) for name in _names(node)}
    return tuple(sorted(names & (_DRIVERS | _PAST_THE_RUNNER)))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield (node.module or "").partition(".")[0]
        yield from (alias.name for alias in node.names)
