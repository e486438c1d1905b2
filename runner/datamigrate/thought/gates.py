"""The gates in a revision's text: which data migrations its `upgrade()` waits for."""

import ast
from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """`op.require_data(names)` at `line`; `is_first` when nothing stands before it in `upgrade()`."""

    names: tuple[str, ...]
    line: int
    is_first: bool


def gates_in(source: str | bytes) -> tuple[Gate, ...]:
    """The gates of a revision file, in order; none for a text that is no Python.

    Only literal names are seen. A gate whose name is computed is met when the revision runs.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    upgrades = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "upgrade"]
    return tuple(gate for upgrade in upgrades for gate in _gates_of(upgrade))


def _gates_of(upgrade: ast.FunctionDef) -> list[Gate]:
    gates: list[Gate] = []
    body = upgrade.body[1:] if ast.get_docstring(upgrade) is not None else upgrade.body
    only_gates_before = True
    for statement in body:
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call) and _is_gate(node)]
        is_plain = isinstance(statement, ast.Expr) and statement.value in calls
        gates += [Gate(_names(call), call.lineno, is_plain and only_gates_before) for call in calls]
        only_gates_before = only_gates_before and is_plain
    return gates


def _is_gate(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "require_data"


def _names(call: ast.Call) -> tuple[str, ...]:
    return tuple(a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str))
