"""The names of SQLAlchemy, Alembic and their users that tell what an object is or does."""

import re
import sys

from datamigrate.thought.linting.values import PLAIN, Imported, Thing, Values

EXECUTING = frozenset(
    {
        "execute",
        "executemany",
        "executescript",
        "exec_driver_sql",
        "exec",
        "scalar",
        "scalars",
        "stream",
        "stream_scalars",
        "execute_values",
        "execute_batch",
        "copy_expert",
        "fetch",
        "fetchval",
        "fetchrow",
        "fetch_all",
        "fetch_one",
    }
)
EXECUTOR_NAME = re.compile(r"(?:^|_)(?:execute|exec|run|sql|query|statement)s?(?:_|$)", re.IGNORECASE)

WRAPS_TEXT = frozenset(
    {"text", "dedent", "cleandoc", "str", "SQL", "DDL", "TextClause", "Text", "encode", "literal_column"}
)
SAME_TEXT = frozenset(
    {
        "strip",
        "lstrip",
        "rstrip",
        "lower",
        "upper",
        "replace",
        "encode",
        "expandtabs",
        "removeprefix",
        "removesuffix",
        "translate",
        "bindparams",
        "columns",
        "execution_options",
        "params",
        "with_hint",
        "safe_substitute",
        "substitute",
        "as_string",
    }
)
CORE_VERBS = {"update": "UPDATE", "insert": "INSERT", "delete": "DELETE", "merge": "MERGE"}
CORE_CHAIN = frozenset(
    {
        "where",
        "values",
        "from_select",
        "returning",
        "ordered_values",
        "on_conflict_do_nothing",
        "on_conflict_do_update",
        "on_duplicate_key_update",
        "prefix_with",
        "with_only_columns",
        "execution_options",
        "inline",
    }
)
SESSION_VERBS = {
    "add": "INSERT",
    "add_all": "INSERT",
    "merge": "INSERT",
    "delete": "DELETE",
    "bulk_save_objects": "INSERT",
    "bulk_insert_mappings": "INSERT",
    "bulk_update_mappings": "UPDATE",
}
ROWS_OF_A_QUERY = frozenset(
    {"all", "first", "one", "one_or_none", "get", "scalars", "scalar", "scalar_one", "scalar_one_or_none"}
    | {"fetchall", "fetchone", "fetchmany", "unique", "partitions", "yield_per", "mappings"}
)
PLAIN_OF_A_QUERY = frozenset(
    {"count", "exists", "subquery", "statement", "cte", "as_scalar", "scalar_subquery"}
)
_TABLE_MAKERS = frozenset({"table", "Table", "create_table", "TableClause"})
_CONNECTION_MAKERS = frozenset(
    {"get_bind", "connect", "create_engine", "engine_from_config", "get_engine", "raw_connection", "begin"}
)
_SESSION_MAKER = re.compile(
    r"^(?:[A-Za-z]*Session|[a-z_]*session)(?:s|local|_?maker|_?factory|_?scope|_?context|_?manager)?$",
    re.IGNORECASE,
)
_SESSION_NAME = re.compile(r"(?:^|_)(?:session|sess)$|^db_session$|^[a-z_]*_session$|^session_")
_CONNECTION_NAME = re.compile(r"(?:^|_)(?:conn|connection|bind|engine|cursor|cur)$")
_LIBRARIES = frozenset(
    {
        "sqlalchemy",
        "alembic",
        "alembic_utils",
        "sqlalchemy_utils",
        "sqlalchemy_searchable",
        "sqlmodel",
        "geoalchemy2",
        "psycopg2",
        "psycopg",
        "pgvector",
        "citext",
        "flask_sqlalchemy",
        "pandas",
        "tqdm",
        "datamigrate",
    }
)


def is_library(path: str) -> bool:
    """Whether a dotted name belongs to the standard library or to a library that is no application."""
    root = path.partition(".")[0]
    return bool(root) and (root in _LIBRARIES or root in sys.stdlib_module_names or root == "builtins")


def makes_session(name: str) -> bool:
    """Whether a function or class of this name gives a session."""
    return _SESSION_MAKER.match(name) is not None


def guess(name: str) -> Values:
    """What a name alone says, where nothing else is known."""
    lower = name.lower()
    if lower == "op":
        return (Imported("alembic.op"),)
    if _SESSION_NAME.search(lower):
        return (Thing("session"),)
    if _CONNECTION_NAME.search(lower):
        return (Thing("connection"),)
    return ()


def made_by(path: str, label: str) -> Values:
    """What calling the imported `path` gives; `label` is its first argument where that is a string."""
    name = path.rpartition(".")[2]
    root = path.partition(".")[0]
    if name in _TABLE_MAKERS and root in ("sqlalchemy", "alembic", "sqlmodel"):
        return (Thing("table", label),)
    if name in CORE_VERBS and root in ("sqlalchemy", "sqlmodel"):
        return (Thing("statement", CORE_VERBS[name]),)
    if name in ("sessionmaker", "scoped_session", "async_sessionmaker"):
        return (Thing("maker"),)
    if makes_session(name):
        return (Thing("session"),)
    if name in _CONNECTION_MAKERS:
        return (Thing("connection"),)
    return PLAIN if is_library(path) else ()
