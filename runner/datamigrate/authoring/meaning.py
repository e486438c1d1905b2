"""A checksum of what a script means: comments, formatting, docstrings and tuning do not count."""

import ast
import hashlib
from collections.abc import Iterator

_FORMS = frozenset({"update_rows", "compute_rows", "each_batch", "delete_rows"})
_TUNING = frozenset(
    {
        "batch_size",
        "target_time",
        "max_pause",
        "concurrency",
        "tags",
        "mask",
        "hold",
        "window",
        "schedule",
        "undo_log",
    }
)


def checksum(tree: ast.Module) -> str:
    """Sixteen hexadecimal digits, the same on every version of Python."""
    for node in ast.walk(tree):
        _strip(node)
    return hashlib.sha256("".join(_words(tree)).encode()).hexdigest()[:16]


class _Word(str):
    """A piece of the text itself, unlike a string that is a value in the script."""


def _words(tree: ast.AST) -> Iterator[str]:
    # no recursion: a long sum is nested as deeply as it is long
    stack: list[object] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, _Word):
            yield node
        elif isinstance(node, ast.AST):
            stack.extend(reversed(list(_parts(node))))
        elif isinstance(node, list):
            stack.extend(reversed(node))
        else:
            # unlike repr, the same whatever Unicode this Python knows
            yield ascii(node)


def _parts(node: ast.AST) -> Iterator[object]:
    # ast.dump differs between versions of Python in which empty fields it prints, so fields are
    # written only when they hold something
    yield _Word(f"({type(node).__name__}")
    for field, value in ast.iter_fields(node):
        if value not in (None, []) and field not in ("ctx", "kind", "type_comment", "type_params"):
            yield _Word(f" {field}=")
            yield value
    yield _Word(")")


def _strip(node: ast.AST) -> None:
    """Take out what does not count; `tags` and `batch_size` elsewhere may well be columns."""
    if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        node.body = [s for i, s in enumerate(node.body) if i or not _is_text(s)]
    if isinstance(node, ast.Module):
        node.body = [s for s in node.body if not _sets_tags(s)]
    if isinstance(node, ast.Call) and _last_name(node.func) in _FORMS:
        node.keywords = [k for k in node.keywords if k.arg not in _TUNING]
    if isinstance(node, ast.JoinedStr):
        # Python 3.12 alone ends the format in f"{value:{width}}" with an empty text
        node.values = [v for v in node.values if not (isinstance(v, ast.Constant) and v.value == "")]


def _sets_tags(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.AnnAssign):
        return _last_name(statement.target) == "tags"
    return isinstance(statement, ast.Assign) and all(_last_name(t) == "tags" for t in statement.targets)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
