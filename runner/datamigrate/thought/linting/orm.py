"""Rows changed as objects: attributes set on what a session loaded, and the models imported for it."""

import ast
from collections.abc import Iterator

from datamigrate.thought.linting.meaning import Meaning
from datamigrate.thought.linting.sightings import Sighting
from datamigrate.thought.linting.values import Imported, Method, Thing, Values
from datamigrate.thought.linting.vocabulary import CORE_VERBS, SESSION_VERBS, is_library

_SAVING = frozenset({"commit", "flush", "begin", "begin_nested"})
_CHANGING = frozenset({"append", "extend", "remove", "clear", "pop", "update", "add", "discard", "insert"})
_LOADING = frozenset({"query", "get", "get_one", "scalars", "scalar", "execute", "exec"})


class Objects:
    """Judges what is done to the objects of sessions."""

    def __init__(self, meaning: Meaning) -> None:
        self.meaning = meaning
        self.source = meaning.source
        self.saves = any(
            isinstance(call.func, ast.Attribute) and call.func.attr in _SAVING for call in self.source.calls
        )

    def sightings(self, node: ast.AST) -> Iterator[Sighting]:
        """A sighting where `node` changes an object that a session loaded, and so will save."""
        changed = next((target for target in self._targets(node)), None)
        if changed is not None:
            wording = f"UPDATE by {_doing(node)} {_shown(changed)}"
            yield Sighting(node, (f"UPDATE {_shown(changed)}",), 1, wording, by_row=True)

    def _targets(self, node: ast.AST) -> Iterator[ast.expr]:
        match node:
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                yield from (target for target in targets if self._belongs_to_a_row(target))
            case ast.AugAssign(target=target) if self._belongs_to_a_row(target):
                yield target
            case ast.Call(func=ast.Name(id="setattr" | "flag_modified"), args=[row, *_]) if self._is_row(row):
                yield row
            case ast.Call(func=ast.Attribute(value=ast.Attribute(value=row) as whole, attr=verb)):
                if self.saves and verb in _CHANGING and self._is_row(row):
                    yield whole

    def imported(self, call: ast.Call) -> Iterator[str]:
        """The application's models that this call loads or writes rows with, by their dotted names."""
        if self._works_with_rows(call):
            for values in self.meaning.arguments(call):
                for value in values:
                    if isinstance(value, Imported) and not is_library(value.path):
                        yield value.path
            for argument in call.args:
                yield from self._made_here(argument)

    def _made_here(self, argument: ast.expr) -> Iterator[str]:
        if isinstance(argument, ast.Call):
            for callee in self.meaning.values(argument.func):
                if isinstance(callee, Imported) and not is_library(callee.path) and callee.name[:1].isupper():
                    yield callee.path

    def _works_with_rows(self, call: ast.Call) -> bool:
        for callee in self.meaning.values(call.func):
            if isinstance(callee, Imported):
                verbs = callee.name in (*CORE_VERBS, "select")
                if verbs and callee.root in ("sqlalchemy", "sqlmodel"):
                    return True
            elif isinstance(callee, Method) and isinstance(callee.owner, Thing):
                loading = callee.name in _LOADING or callee.name in SESSION_VERBS
                if callee.owner.kind == "session" and loading:
                    return True
        return False

    def _belongs_to_a_row(self, target: ast.expr) -> bool:
        while isinstance(target, ast.Subscript):
            target = target.value
        return isinstance(target, ast.Attribute) and self._is_row(target.value)

    def _is_row(self, node: ast.expr) -> bool:
        return _has_rows(self.meaning.values(node))


def _has_rows(values: Values) -> bool:
    return any(
        (isinstance(value, Thing) and value.kind == "rows")
        or (isinstance(value, Method) and isinstance(value.owner, Thing) and value.owner.kind == "rows")
        for value in values
    )


def _doing(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return "changing"
    return "deleting" if isinstance(node, ast.Delete) else "setting"


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."
