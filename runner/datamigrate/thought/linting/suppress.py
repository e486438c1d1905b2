"""`# datamigrate: allow(reason)`: data work that somebody looked at and wants where it is."""

import ast
import io
import re
import tokenize
from dataclasses import dataclass

from datamigrate.thought.linting.source import Source

_ALLOW = re.compile(r"#\s*datamigrate:\s*allow\(\s*\S.*\)\s*$")


@dataclass(frozen=True)
class Allowances:
    """The lines with the comment, those where it stands alone, and whether it holds for the whole file."""

    lines: frozenset[int] = frozenset()
    alone: frozenset[int] = frozenset()
    revision: bool = False

    def cover(self, node: ast.AST, source: Source) -> bool:
        """Whether the comment is on the node's statement, on its own line above, or on its function."""
        if self.revision:
            return True
        statement = source.statement(node)
        first, last = _span(statement)
        heads = [_span(f)[0] for f in source.functions_around(node)]
        heads_end = [f.body[0].lineno - 1 for f in source.functions_around(node)]
        inside = any(first <= line <= last for line in self.lines)
        on_head = any(
            a <= line <= max(a, b)
            for a, b in zip(heads, heads_end, strict=True)
            for line in self.lines - self.alone
        )
        return inside or on_head or first - 1 in self.alone


def allowances(text: str) -> Allowances:
    """The comments of a revision's text that allow data work. One that begins its line stands for the file."""
    lines: set[int] = set()
    alone: set[int] = set()
    revision = False
    if "datamigrate:" not in text:
        return Allowances()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and _ALLOW.match(token.string):
                line, column = token.start
                lines.add(line)
                revision = revision or column == 0
                if not token.line[:column].strip():
                    alone.add(line)
    except (tokenize.TokenError, SyntaxError, ValueError):
        pass
    return Allowances(frozenset(lines), frozenset(alone), revision)


def _span(node: ast.AST) -> tuple[int, int]:
    first = int(getattr(node, "lineno", 0))
    return first, int(getattr(node, "end_lineno", first) or first)
