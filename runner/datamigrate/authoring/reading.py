"""What is wrong with a script before it is run: found in its text, told with its line."""

import ast
from collections.abc import Iterator
from difflib import get_close_matches

from datamigrate.words.errors import Place, ScriptError

NAMES = ("name", "requires", "depends_on", "until", "tags", "migrate", "remaining", "revert")

A_SCRIPT = (
    "A free-form data script is `async def migrate(session)`: SQL in sa.text(...) or built with "
    "SQLAlchemy, no commit (the runner commits), nothing imported from the application. "
    "`datamigrate new --kind free -m ...` writes one."
)

_EXECUTING = frozenset({"execute", "scalar", "scalars", "stream", "stream_scalars"})


def parse(source: bytes, file: str) -> ast.Module:
    """The script's syntax tree. Raises ScriptError with the line for what Python cannot read."""
    try:
        return ast.parse(source, filename=file)
    except SyntaxError as error:
        raise ScriptError(f"{error.msg}.", A_SCRIPT, Place(file, error.lineno or None)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ScriptError(f"This is not a Python file ({error}).", "", Place(file)) from None


def first_problem(tree: ast.Module, file: str) -> ScriptError | None:
    """The first thing that would go wrong when the script runs, or None."""
    return next(_problems(tree, file), None)


def _problems(tree: ast.Module, file: str) -> Iterator[ScriptError]:
    yield from _misspelt(tree, file)
    lent = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from _call_problems(node, node.func, lent, file)


def _call_problems(
    call: ast.Call, function: ast.Attribute, lent: set[str], file: str
) -> Iterator[ScriptError]:
    place = Place(file, call.lineno)
    if function.attr in _EXECUTING and call.args and _is_plain_text(call.args[0]):
        yield ScriptError(
            "SQLAlchemy does not execute a plain string.",
            'Wrap it: await session.execute(sa.text("..."), {"name": value}).',
            place,
        )
    # a savepoint of the script's own may be committed, what it was lent may not
    if function.attr == "commit" and isinstance(function.value, ast.Name) and function.value.id in lent:
        yield ScriptError(
            f"The script commits on its own ({function.value.id}.commit()).",
            "Take the call out: the runner commits the work together with its checkpoint, "
            "so that a crash can lose neither.",
            place,
        )


def _is_plain_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _misspelt(tree: ast.Module, file: str) -> Iterator[ScriptError]:
    assigned = dict(_assigned(tree))
    functions = {s.name for s in tree.body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)}
    for found, line in assigned.items():
        close = get_close_matches(found, NAMES, n=1, cutoff=0.85)
        if close and found not in NAMES and close[0] not in assigned.keys() | functions:
            yield ScriptError(
                f"`{found}` has no meaning here.", f"Did you mean `{close[0]}`?", Place(file, line)
            )


def _assigned(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        yield from ((target.id, statement.lineno) for target in targets if isinstance(target, ast.Name))
