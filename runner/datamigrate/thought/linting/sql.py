"""What a piece of SQL text does to rows.

sqlglot reads each statement; what it cannot read, such as a text with unknown parts or another dialect's
grammar, is judged by its words. Bodies of functions and triggers are definitions, not deeds; an anonymous
block (`DO`, `BEGIN`, `DECLARE`, `IF`) does what is in it.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from datamigrate.thought.linting.lexing import HOLE, Lexeme, statements

_LONGEST_READ = 200_000
_LONGEST_PARSED = 20_000
_DEEPEST = 4

_WRITES = frozenset({"UPDATE", "INSERT", "DELETE", "MERGE", "TRUNCATE", "REPLACE", "UPSERT", "COPY", "LOAD"})
_BLOCKS = frozenset({"DO", "BEGIN", "DECLARE", "IF", "WHILE"})
_BEFORE_A_STATEMENT = frozenset({";", "BEGIN", "THEN", "ELSE", "LOOP", ")", "DO"})
_NOISE = frozenset({"INTO", "FROM", "ONLY", "TABLE", "IGNORE", "LOW_PRIORITY", "DELAYED", "OR", "ABORT"}) | {
    "OVERWRITE",
    "ROLLBACK",
    "FAIL",
    "REPLACE",
}
_ANY_WRITE = re.compile(rf"\b(?:{'|'.join(sorted(_WRITES))})\b", re.IGNORECASE)
_ANY_ROUTINE = re.compile(r"\b(?:FUNCTION|PROCEDURE)\b", re.IGNORECASE)
_NOT_ROWS_OF_OURS = re.compile(
    r"(?:.*\.)?(?:alembic_version\w*|pg_\w+|sqlite_\w+)|(?:pg_catalog|information_schema|mysql|sys)\..*",
    re.IGNORECASE,
)
_PREPOSITIONS = {
    "INSERT": "INTO ",
    "MERGE": "INTO ",
    "REPLACE": "INTO ",
    "UPSERT": "INTO ",
    "DELETE": "FROM ",
}
_SHAPES = {
    "UPDATE": re.compile(r"UPDATE\b.{1,300}?\bSET\b", re.IGNORECASE | re.DOTALL),
    "INSERT": re.compile(r"INSERT\s+(?:\w+\s+){0,2}INTO\b\s*\S", re.IGNORECASE),
    "DELETE": re.compile(r"DELETE\s+(?:\w+\s+)?FROM\b\s*\S", re.IGNORECASE),
    "MERGE": re.compile(r"MERGE\s+INTO\b.{0,2000}?\bUSING\b", re.IGNORECASE | re.DOTALL),
    "TRUNCATE": re.compile(r"TRUNCATE\s+\S", re.IGNORECASE),
    "REPLACE": re.compile(r"REPLACE\s+INTO\b\s*\S", re.IGNORECASE),
    "UPSERT": re.compile(r"UPSERT\s+INTO\b\s*\S", re.IGNORECASE),
    "COPY": re.compile(r"COPY\s+[^;]{0,2000}?\bFROM\b", re.IGNORECASE | re.DOTALL),
    "LOAD": re.compile(r"LOAD\s+DATA\b", re.IGNORECASE),
}


@dataclass(frozen=True)
class Deed:
    """One change of rows: the verb and the table, whose unknown parts are written as an ellipsis."""

    verb: str
    table: str

    def __str__(self) -> str:
        table = self.table if re.search(r"\w", self.table) else "a computed table"
        return f"{self.verb} {_PREPOSITIONS.get(self.verb, '')}{table}"


@lru_cache(maxsize=4096)
def deeds(sql: str) -> tuple[Deed, ...]:
    """Every change of rows that executing `sql` makes."""
    text = sql[:_LONGEST_READ]
    if not _ANY_WRITE.search(text):
        return ()
    with _silence():
        return tuple(deed for deed in _deeds(text, 0) if not _NOT_ROWS_OF_OURS.fullmatch(deed.table))


@lru_cache(maxsize=1024)
def writing_routines(sql: str) -> frozenset[str]:
    """The functions and procedures that `sql` defines and whose bodies change rows."""
    if not _ANY_ROUTINE.search(sql) or not _ANY_WRITE.search(sql):
        return frozenset()
    with _silence():
        made = (_routine(statement) for statement in statements(sql[:_LONGEST_READ]))
        return frozenset(name for name in made if name)


def called_routines(sql: str) -> frozenset[str]:
    """The functions and procedures that `sql` calls for their effect."""
    called = (
        lexeme.inside.lower()
        for statement in statements(sql[:_LONGEST_READ])
        if statement[0].upper in ("SELECT", "CALL", "EXEC", "EXECUTE", "PERFORM")
        for lexeme, after in pairwise(statement)
        if after.text == "(" and lexeme.kind in ("word", "name")
    )
    return frozenset(called)


def _deeds(sql: str, depth: int) -> Iterator[Deed]:
    for statement in statements(sql):
        yield from _of_statement(sql, statement, depth)


def _of_statement(sql: str, statement: tuple[Lexeme, ...], depth: int) -> Iterator[Deed]:
    rest = _from_its_verb(statement)
    lead = rest[0].upper if rest else ""
    if lead in _BLOCKS:
        yield from _in_block(sql, rest, depth)
    elif lead in _WRITES or lead == "WITH":
        text = sql[rest[0].start : rest[-1].end]
        parsed = _parsed(text)
        yield from _in_tree(parsed) if parsed is not None else _by_words(sql, rest)


def _from_its_verb(statement: tuple[Lexeme, ...]) -> tuple[Lexeme, ...]:
    """The statement without what may stand before its verb: brackets, EXPLAIN, unknown parts."""
    for index, lexeme in enumerate(statement):
        if lexeme.upper not in ("(", "EXPLAIN", "ANALYZE", HOLE, HOLE * 2):
            return statement[index:]
    return ()


def _parsed(text: str) -> exp.Expression | None:
    if len(text) > _LONGEST_PARSED:
        return None
    for dialect in ("postgres", "mysql"):
        try:
            tree = sqlglot.parse_one(text.replace(HOLE, "__hole__"), read=dialect)
        except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, IndexError, KeyError):
            continue
        if isinstance(tree, exp.Expression) and not isinstance(tree, exp.Command):
            return tree
    return None


def _in_tree(tree: exp.Expression) -> Iterator[Deed]:
    for node in tree.find_all(exp.Update, exp.Insert, exp.Delete, exp.Merge, exp.TruncateTable, exp.Copy):
        # MERGE holds its branches as statements of their own; they are part of the one deed
        if isinstance(node, exp.Merge) or node.find_ancestor(exp.Merge) is None:
            yield from _of_node(node)


def _of_node(node: exp.Expression) -> Iterator[Deed]:
    if isinstance(node, exp.Copy) and not node.args.get("kind"):
        return
    verb = "TRUNCATE" if isinstance(node, exp.TruncateTable) else type(node).__name__.upper()
    targets = node.expressions if isinstance(node, exp.TruncateTable) else [node.this]
    table = targets[0].find(exp.Table) if targets and isinstance(targets[0], exp.Expression) else None
    name = ".".join(part.name for part in table.parts) if table is not None else "…"
    yield Deed(verb, name.replace("__hole__", "…"))


def _by_words(sql: str, statement: tuple[Lexeme, ...]) -> Iterator[Deed]:
    for index, lexeme in enumerate(statement):
        before = statement[index - 1].upper if index else ";"
        if lexeme.upper in _WRITES and before in (";", "(", ")"):
            trusted = index == 0 and lexeme.upper not in ("COPY", "REPLACE", "LOAD")
            if trusted or _has_its_shape(sql, statement, index):
                yield Deed(lexeme.upper, _table(statement[index + 1 :]))


def _in_block(sql: str, statement: tuple[Lexeme, ...], depth: int) -> Iterator[Deed]:
    if depth >= _DEEPEST:
        return
    for index, lexeme in enumerate(statement):
        before = statement[index - 1].upper if index else ";"
        if lexeme.kind == "body" or (lexeme.kind == "text" and _quotes_a_statement(statement, index)):
            yield from _of_quoted(lexeme.inside, depth + 1)
        elif lexeme.upper in _WRITES and before in _BEFORE_A_STATEMENT:
            upsert = statement[max(0, index - 2)].upper == "CONFLICT"
            if not upsert and _has_its_shape(sql, statement, index):
                yield Deed(lexeme.upper, _table(statement[index + 1 :]))


def _quotes_a_statement(statement: tuple[Lexeme, ...], index: int) -> bool:
    if index and statement[index - 1].upper == "DO":
        return True
    text = statement[index].inside.lstrip()
    return any(shape.match(text) for shape in _SHAPES.values())


def _of_quoted(text: str, depth: int) -> Iterator[Deed]:
    """A body is the inside of a block; only its own CREATE statements are definitions again."""
    for statement in statements(text):
        if _from_its_verb(statement)[:1] and statement[0].upper in _WRITES | {"WITH"}:
            yield from _of_statement(text, statement, depth)
        elif statement[0].upper != "CREATE":
            yield from _in_block(text, statement, depth)


def _has_its_shape(sql: str, statement: tuple[Lexeme, ...], index: int) -> bool:
    verb = statement[index]
    return _SHAPES[verb.upper].match(sql, verb.start, statement[-1].end) is not None


def _table(after: tuple[Lexeme, ...]) -> str:
    rest = [lexeme for lexeme in after[:12] if lexeme.upper not in _NOISE]
    parts: list[str] = []
    for lexeme in rest:
        if lexeme.text == ".":
            continue
        if lexeme.kind not in ("word", "name") or (parts and not _joined(rest, lexeme)):
            break
        parts.append(lexeme.inside)
    return ".".join(parts).replace(HOLE, "…") or "…"


def _joined(rest: list[Lexeme], lexeme: Lexeme) -> bool:
    return rest[rest.index(lexeme) - 1].text == "."


def _routine(statement: tuple[Lexeme, ...]) -> str | None:
    words = [lexeme.upper for lexeme in statement[:8]]
    kind = next((w for w in words if w in ("FUNCTION", "PROCEDURE")), None)
    if statement[0].upper != "CREATE" or kind is None:
        return None
    names = statement[words.index(kind) + 1 :]
    opening = next((i for i, lexeme in enumerate(names) if lexeme.text == "("), 0)
    bodies = [lexeme.inside for lexeme in statement if lexeme.kind in ("body", "text")]
    writes = any(any(True for _ in _of_quoted(body, 1)) for body in bodies)
    return names[opening - 1].inside.lower() if opening and writes else None


@contextmanager
def _silence() -> Iterator[None]:
    """sqlglot warns of what it reads only in part; a linter's user has no use for that."""
    logger = logging.getLogger("sqlglot")
    was = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = was
