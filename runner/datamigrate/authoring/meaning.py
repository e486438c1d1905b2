"""A checksum of what a script means: comments, formatting, docstrings and tuning do not count."""

import ast
import hashlib
from collections.abc import Iterator

_TUNING = frozenset({"batch_size", "target_time", "max_pause", "concurrency", "tags"})


def checksum(tree: ast.Module) -> str:
    """Sixteen hexadecimal digits, the same on every version of Python."""
    return hashlib.sha256("".join(_words(_without_docstrings(tree))).encode()).hexdigest()[:16]


def _words(node: object) -> Iterator[str]:
    # ast.dump differs between versions of Python in which empty fields it prints, so fields are
    # written only when they hold something
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for field, value in ast.iter_fields(node):
            if value not in (None, []) and field not in ("ctx", "kind", "type_comment", "type_params"):
                yield f" {field}="
                yield from _words(value)
        yield ")"
    elif isinstance(node, list):
        for item in node:
            if not _is_tuning(item):
                yield from _words(item)
    else:
        yield repr(node)


def _is_tuning(node: object) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(t, ast.Name) and t.id == "tags" for t in node.targets)
    return isinstance(node, ast.keyword) and node.arg in _TUNING


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = [s for i, s in enumerate(node.body) if i or not _is_text(s)]
    return tree


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
