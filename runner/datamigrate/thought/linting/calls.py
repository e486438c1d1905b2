"""What a call in a revision does to rows: executes SQL text, builds a Core statement, uses a session."""

import ast
from collections.abc import Iterator
from dataclasses import replace

from datamigrate.thought.linting import holdings as held
from datamigrate.thought.linting.meaning import Meaning
from datamigrate.thought.linting.sightings import Sighting
from datamigrate.thought.linting.sql import deeds
from datamigrate.thought.linting.values import (
    Class,
    Function,
    Imported,
    Items,
    Method,
    Text,
    Thing,
    Value,
    Values,
    texts,
    things,
)
from datamigrate.thought.linting.vocabulary import (
    CORE_CHAIN,
    CORE_VERBS,
    EXECUTING,
    EXECUTOR_NAME,
    SESSION_VERBS,
    is_library,
)

FEW_ROWS = 20
"""A bulk insert of so many literal rows fills a reference table; more of them are data."""


class Calls:
    """Judges the calls of one source."""

    def __init__(self, meaning: Meaning) -> None:
        self.meaning = meaning
        self.source = meaning.source
        self.executed: dict[str, None] = {}

    def sightings(self, call: ast.Call) -> Iterator[Sighting]:
        """The data work that this very call does."""
        callees = self.meaning.values(call.func)
        if _executes(call, callees):
            yield from self._executed(call, call.args + [k.value for k in call.keywords])
        elif isinstance(call.func, ast.Name) and call.func.id == "map" and call.args:
            yield from self._mapped(call)
        yield from _merged([seen for callee in callees for seen in self._by_callee(call, callee)])

    def _by_callee(self, call: ast.Call, callee: Value) -> Iterator[Sighting]:
        match callee:
            case Imported() if callee.name == "bulk_insert":
                yield from self._bulk_insert(call)
            case Imported() if callee.name in CORE_VERBS and callee.root in ("sqlalchemy", "sqlmodel"):
                yield self._core(call, CORE_VERBS[callee.name], call.args[0] if call.args else None)
            case Method(name="bulk_insert"):
                yield from self._bulk_insert(call)
            case Method(owner=Thing(kind="table", label=label), name=name) if name in CORE_VERBS:
                yield Sighting(call, (_action(CORE_VERBS[name], label),))
            case Method(owner=Thing(kind="query"), name=("update" | "delete") as name):
                yield Sighting(call, (_action(CORE_VERBS[name], self._queried(call.func)),))
            case Method(owner=Thing(kind="session"), name=name) if name in SESSION_VERBS:
                yield from self._by_session(call, name)
            case Imported(name=name) | Method(owner=None | Method() | Class(), name=name) if (
                name in CORE_VERBS
            ):
                if self._is_chained(call):
                    yield Sighting(call, (_action(CORE_VERBS[name], _text_of(call.func)),))

    def _executed(self, call: ast.Call, arguments: list[ast.expr]) -> Iterator[Sighting]:
        actions: list[str] = []
        statements = 0
        for argument in arguments:
            found = texts(_flat(self.meaning.values(argument) or self._handed_on(argument)))
            several = {text.text: [str(deed) for deed in deeds(text.text)] for text in found}
            self.executed.update(dict.fromkeys(several))
            done = [action for text in several.values() for action in text]
            mixed = any(text.mixed for text in found)
            statements += len(dict.fromkeys(done)) if mixed else len(done)
            actions += done
            perhaps = things(self.meaning.values(argument), "perhaps")
            actions += [_action(thing.label, "") for thing in perhaps[:1]]
            statements += len(perhaps[:1])
        if actions:
            yield Sighting(call, tuple(dict.fromkeys(actions)), statements)

    def _handed_on(self, argument: ast.expr) -> Values:
        """The strings given to an unknown function, which makes an SQL text of them."""
        if isinstance(argument, ast.Call):
            return tuple(text for values in self.meaning.arguments(argument) for text in texts(values))
        return ()

    def _mapped(self, call: ast.Call) -> Iterator[Sighting]:
        callees = self.meaning.values(call.args[0])
        if any(isinstance(c, Imported | Method) and c.name in EXECUTING for c in callees):
            yield from self._executed(call, call.args[1:])

    def _core(self, call: ast.Call, verb: str, target: ast.expr | None) -> Sighting:
        labels = [t.label for t in things(self.meaning.values(target), "table")] if target else []
        return Sighting(call, (_action(verb, labels[0] if labels else _text_of(target)),))

    def _is_chained(self, call: ast.Call) -> bool:
        parent = self.source.spots[call].parent
        grandparent = self.source.spots[parent].parent if parent is not None else None
        chained = isinstance(parent, ast.Attribute) and parent.attr in CORE_CHAIN
        return chained and isinstance(grandparent, ast.Call)

    def _queried(self, function: ast.expr) -> str:
        """The model at the root of `session.query(Model).filter(...).update`."""
        node: ast.AST = function
        while isinstance(node, ast.Attribute | ast.Call):
            if isinstance(node, ast.Call) and _last(node.func) == "query" and node.args:
                return _text_of(node.args[0])
            node = node.value if isinstance(node, ast.Attribute) else node.func
        return ""

    def _by_session(self, call: ast.Call, name: str) -> Iterator[Sighting]:
        if call.args or call.keywords:
            given = call.args[0] if call.args else None
            model = given.func if isinstance(given, ast.Call) else given if "bulk" in name else None
            action = _action(SESSION_VERBS[name], _text_of(model))
            yield Sighting(call, (action,), wording=f"session.{name}() ({action})")

    def _bulk_insert(self, call: ast.Call) -> Iterator[Sighting]:
        arguments = [*call.args[:2], *(k.value for k in call.keywords if k.arg in ("table", "rows"))]
        if len(arguments) < 2:
            return
        size = held.size(self.meaning.values(arguments[1]))
        rounds = self._rounds(call)
        if size is None or rounds is None or size * rounds > FEW_ROWS:
            labels = [t.label for t in things(self.meaning.values(arguments[0]), "table")]
            action = _action("INSERT", labels[0] if labels else _text_of(arguments[0]))
            rows = f"{size * rounds:,}" if size is not None and rounds is not None else "computed"
            yield Sighting(call, (action,), wording=f"bulk_insert of {rows} rows ({action})")

    def _rounds(self, call: ast.Call) -> int | None:
        rounds = 1
        for parent in self.source.parents(call):
            if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef):
                break
            if isinstance(parent, ast.While):
                return None
            if isinstance(parent, ast.For | ast.AsyncFor):
                several = held.size(self.meaning.values(parent.iter))
                if several is None:
                    return None
                rounds *= several
        return rounds


def _executes(call: ast.Call, callees: Values) -> bool:
    """Whether the call hands its arguments to the database, by its name or by what the name stands for."""
    if any(isinstance(callee, Function | Class) for callee in callees):
        return False
    if any(isinstance(callee, Imported | Method) and callee.name in EXECUTING for callee in callees):
        return True
    name = _last(call.func)
    library = any(isinstance(callee, Imported) and is_library(callee.path) for callee in callees)
    return name in EXECUTING or (bool(EXECUTOR_NAME.search(name)) and not library)


def _merged(seen: list[Sighting]) -> list[Sighting]:
    """One sighting for a call whose receiver may be one of several; a named table says more than "a table"."""
    actions = list(dict.fromkeys(action for sighting in seen for action in sighting.actions))
    named = [action for action in actions if not action.endswith(" a table")]
    return [replace(seen[0], actions=tuple(named or actions))] if seen else []


def _flat(values: Values) -> Values:
    """The alternatives with the members of collections among them, for `execute([...])` and its like."""
    inside = tuple(
        m
        for value in values
        if isinstance(value, Items) and value.keys is None
        for m in held.members((value,))
    )
    return (*(value for value in values if isinstance(value, Text)), *inside)


def _action(verb: str, label: str) -> str:
    words = {"INSERT": "INSERT INTO", "DELETE": "DELETE FROM", "MERGE": "MERGE INTO"}
    return f"{words.get(verb, verb)} {label or 'a table'}"


def _text_of(node: ast.AST | None) -> str:
    """A name as it is written, or nothing for anything longer."""
    if isinstance(node, ast.Attribute) and node.attr in (*CORE_VERBS, "__table__"):
        return _text_of(node.value)
    if isinstance(node, ast.Name | ast.Attribute):
        text = ast.unparse(node)
        return text if len(text) <= 60 and "(" not in text else ""
    return ""


def _last(function: ast.AST) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
