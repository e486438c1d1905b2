"""SQL text cut into words and statements: enough to tell where one statement ends and the next begins.

A parser gives up at the first thing it does not know; this never does. Comments are dropped, strings and
function bodies are kept in one piece, and the unknown parts of a composed text count as words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

HOLE = "\ue000"
"""Stands for a part of a text that is known only when the revision runs."""

_LEXEME = re.compile(
    r"""
      (?P<skip>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<body>\$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z))
    | (?P<text>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z))
    | (?P<name>"(?:[^"]|"")*"|`[^`]*`|\[[A-Za-z_][^\]\[]*\])
    | (?P<word>(?:[^\W\d]|\ue000)(?:\w|\ue000)*)
    | (?P<mark>.)
    """,
    re.DOTALL | re.VERBOSE,
)
_ROUTINES = frozenset({"FUNCTION", "PROCEDURE", "PACKAGE", "TRIGGER", "EVENT"})
_CLOSED_BY_THEIR_OWN_END = frozenset({"IF", "LOOP", "WHILE", "REPEAT", "FOR"})


@dataclass(frozen=True)
class Lexeme:
    """A word, a quoted name, a string, a dollar-quoted body or a mark; `upper` is a word in capitals."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        return self.text.upper() if self.kind in ("word", "mark") else ""

    @property
    def inside(self) -> str:
        """The text between the quotes."""
        if self.kind == "body":
            tag = self.text[: self.text.index("$", 1) + 1]
            return self.text.removeprefix(tag).removesuffix(tag)
        if self.kind == "text":
            return self.text.lstrip("eE")[1:].removesuffix("'").replace("''", "'")
        if self.kind == "name":
            return self.text[1:-1]
        return self.text


def lexemes(sql: str) -> tuple[Lexeme, ...]:
    """All that counts in `sql`, in order."""
    found = _LEXEME.finditer(sql)
    return tuple(
        Lexeme(match.lastgroup if match.lastgroup != "tag" else "body", match.group(), *match.span())
        for match in found
        if match.lastgroup and match["skip"] is None
    )


def statements(sql: str) -> Iterator[tuple[Lexeme, ...]]:
    """The statements of a script; the body of a routine stays with the CREATE that defines it."""
    statement: list[Lexeme] = []
    depth = 0
    everything = lexemes(sql)
    for index, lexeme in enumerate(everything):
        if lexeme.text == ";" and depth == 0 and not _declares(statement):
            yield from _unless_empty(statement)
            statement = []
            continue
        if _makes_routine(statement):
            depth = max(0, depth + _opens_or_closes(everything, index))
        statement.append(lexeme)
    yield from _unless_empty(statement)


def _unless_empty(statement: list[Lexeme]) -> Iterator[tuple[Lexeme, ...]]:
    if statement:
        yield tuple(statement)


def _makes_routine(statement: list[Lexeme]) -> bool:
    return (
        bool(statement)
        and statement[0].upper == "CREATE"
        and any(lexeme.upper in _ROUTINES for lexeme in statement[:8])
    )


def _declares(statement: list[Lexeme]) -> bool:
    """Whether we are among the declarations of a routine, before its BEGIN."""
    if not _makes_routine(statement):
        return False
    words = {lexeme.upper for lexeme in statement}
    if "BEGIN" in words or any(lexeme.kind in ("body", "text") for lexeme in statement):
        return False
    return "DECLARE" in words or (bool(words & {"IS", "AS"}) and "TRIGGER" not in words)


def _opens_or_closes(everything: tuple[Lexeme, ...], index: int) -> int:
    word = everything[index].upper
    before = everything[index - 1].upper if index else ""
    after = everything[index + 1].upper if index + 1 < len(everything) else ""
    if word in ("BEGIN", "CASE") and before != "END":
        return 1
    return -1 if word == "END" and after not in _CLOSED_BY_THEIR_OWN_END else 0
