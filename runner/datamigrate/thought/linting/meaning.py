"""What an expression of the revision can stand for, found by following names, calls and collections.

This is no interpreter: it looks at every assignment that may reach a name, at every return of a function, and
at every call for a parameter's value. It has a budget, so that no file can keep it busy, and where the budget
or the knowledge ends the answer is "nothing known".
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from datamigrate.thought.linting import holdings as held
from datamigrate.thought.linting.callers import Callers, annotation, given
from datamigrate.thought.linting.results import of_builtin, of_import, of_method
from datamigrate.thought.linting.source import Binding, FunctionNode, Scope, Source
from datamigrate.thought.linting.texts import joined, percented
from datamigrate.thought.linting.values import (
    PLAIN,
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
from datamigrate.thought.linting.vocabulary import guess, is_library, makes_session

_BUDGET = 4_000
_BUDGET_IN_ALL = 300_000
_DEEPEST = 40
_DEEPEST_CALLS = 6
_MOST = 48
_HELD = frozenset({"session", "connection", "bind", "engine"})
_MOST_MEMBERS = 64


@dataclass(frozen=True, eq=False)
class Frame:
    """One call of a function of this module, with what its parameters are in it."""

    function: FunctionNode
    given: Mapping[str, Values]


class Meaning:
    """Answers what expressions of one source can stand for."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._known: dict[ast.AST, Values] = {}
        self._open: set[tuple[ast.AST, Frame | None]] = set()
        self._running: list[FunctionNode] = []
        self._spent = 0
        self._spent_in_all = 0
        self._callers = Callers(source)
        self._callers.learn(self.values)
        self._known.clear()

    def values(self, node: ast.AST, frame: Frame | None = None) -> Values:
        """Everything that `node` is known to stand for."""
        if frame is None and node in self._known:
            return self._known[node]
        key = (node, frame)
        if not self._open:
            self._spent_in_all += self._spent
            self._spent = 0
        if key in self._open or len(self._open) > _DEEPEST or self._is_spent():
            return ()
        self._spent += 1
        self._open.add(key)
        try:
            found = tuple(dict.fromkeys(self._of(node, frame)))[:_MOST]
        finally:
            self._open.discard(key)
        if frame is None:
            self._known[node] = found
        return found

    def _is_spent(self) -> bool:
        return self._spent > _BUDGET or self._spent_in_all > _BUDGET_IN_ALL

    def arguments(self, call: ast.Call, frame: Frame | None = None) -> list[Values]:
        """What each argument of a call can be, keywords last."""
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        return [self.values(argument, frame) for argument in given]

    def _of(self, node: ast.AST, frame: Frame | None) -> Iterable[Value]:
        match node:
            case ast.Constant(value=str(text)):
                return (Text(text),)
            case ast.Constant(value=int(number)):
                return (Thing("plain", str(number)),)
            case ast.Constant() | ast.Compare() | ast.UnaryOp():
                return PLAIN
            case ast.JoinedStr(values=parts):
                return joined([self.values(part, frame) for part in parts])
            case ast.FormattedValue(value=inner) | ast.Starred(value=inner) | ast.Await(value=inner):
                return self.values(inner, frame)
            case ast.NamedExpr(value=inner):
                return self.values(inner, frame)
            case ast.IfExp(body=first, orelse=second):
                return (*self.values(first, frame), *self.values(second, frame))
            case ast.BoolOp(values=parts):
                return (value for part in parts for value in self.values(part, frame))
            case ast.BinOp():
                return self._operation(node, frame)
            case ast.Name():
                return self._name(node, frame)
            case ast.Attribute():
                return self._attribute(node, frame)
            case ast.Subscript(value=owner, slice=index):
                return self._subscript(owner, index, frame)
            case ast.Call():
                return self._call(node, frame)
            case ast.Lambda():
                return (Function(node),)
            case ast.AugAssign(target=target, op=ast.Add(), value=added):
                return self._sum([target, added], frame)
            case _:
                return self._collection(node, frame)

    def _operation(self, node: ast.BinOp, frame: Frame | None) -> Iterable[Value]:
        if isinstance(node.op, ast.Mod):
            return self._percent(node, frame)
        if not isinstance(node.op, ast.Add):
            return PLAIN
        operands: list[ast.expr] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add):
            operands.append(left.right)
            left = left.left
        return self._sum([left, *reversed(operands)], frame)

    def _sum(self, operands: list[ast.expr], frame: Frame | None) -> Iterable[Value]:
        parts = [self.values(operand, frame) for operand in operands]
        if any(isinstance(value, Text) for part in parts for value in part):
            return joined(parts)
        return held.together(parts)

    def _percent(self, node: ast.BinOp, frame: Frame | None) -> Iterator[Value]:
        named: dict[str, Values] = {}
        values: list[Values] = []
        if isinstance(node.right, ast.Dict):
            for key, value in zip(node.right.keys, node.right.values, strict=True):
                if isinstance(key, ast.Constant):
                    named[str(key.value)] = self.values(value, frame)
        else:
            several = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            values = [self.values(value, frame) for value in several]
        for template in texts(self.values(node.left, frame)):
            yield from percented(template, values, named)

    def _collection(self, node: ast.AST, frame: Frame | None) -> Iterable[Value]:
        match node:
            case ast.List(elts=members) | ast.Tuple(elts=members) | ast.Set(elts=members):
                starred = any(isinstance(member, ast.Starred) for member in members)
                return (Items(self._members(members, frame), None if starred else len(members)),)
            case ast.Dict(keys=keys, values=members):
                names = tuple(k.value if isinstance(k, ast.Constant) else None for k in keys[:_MOST_MEMBERS])
                words = tuple(name if isinstance(name, str) else None for name in names)
                return (Items(self._members(members, frame), len(members), words),)
            case ast.ListComp(elt=member) | ast.SetComp(elt=member) | ast.GeneratorExp(elt=member):
                return (Items((self.values(member, frame),), self._rounds(node, frame)),)
            case ast.DictComp(value=member):
                return (Items((self.values(member, frame),), None, (None,)),)
        return ()

    def _members(self, members: list[ast.expr], frame: Frame | None) -> tuple[Values, ...]:
        return tuple(self._member(member, frame) for member in members[:_MOST_MEMBERS])

    def _member(self, member: ast.expr, frame: Frame | None) -> Values:
        values = self.values(member, frame)
        return held.members(values) if isinstance(member, ast.Starred) else values

    def _rounds(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, frame: Frame | None) -> int | None:
        size = 1
        for part in node.generators:
            several = held.size(self.values(part.iter, frame))
            if several is None:
                return None
            size *= several
        return size

    def _name(self, node: ast.Name, frame: Frame | None) -> Iterable[Value]:
        scope, found = self.source.reaching(node)
        values = [value for binding in found for value in self._bound(binding, scope, frame)]
        if scope is not None and node.id in scope.growth:
            values = held.grown(values, self._growth(scope, node.id, frame))
        return values or guess(node.id)

    def _growth(self, scope: Scope, name: str, frame: Frame | None) -> list[Values]:
        additions = scope.growth[name][:_MOST_MEMBERS]
        return [
            held.members(self.values(added, frame)) if verb == "extend" else self.values(added, frame)
            for verb, added in additions
        ]

    def _bound(self, binding: Binding, scope: Scope | None, frame: Frame | None) -> Values:
        source = binding.source
        if binding.how == "imported":
            return (Imported(binding.dotted),)
        if binding.how == "parameter" and scope is not None:
            return self._parameter(binding.name, scope.node, frame)
        if isinstance(source, ast.ClassDef):
            return (Class(source),)
        if isinstance(source, ast.FunctionDef | ast.AsyncFunctionDef):
            return (Function(source),)
        if source is None:
            return ()
        inner = frame if frame is not None and scope is not None and frame.function is scope.node else None
        values = self.values(source, inner)
        if binding.how == "looped":
            values = held.members(values)
        return held.at_path(values, binding.path)

    def _parameter(self, name: str, function: ast.AST, frame: Frame | None) -> Values:
        if frame is not None and frame.function is function:
            return frame.given.get(name, ())
        if not isinstance(function, FunctionNode):
            return ()
        found = (
            value
            for call in self._callers.of(function)
            for value in given(call, function, self.values).get(name, ())
        )
        return tuple(found) or guess(name) or guess(annotation(name, function))

    def _attribute(self, node: ast.Attribute, frame: Frame | None) -> Iterator[Value]:
        owners = self.values(node.value, frame)
        for owner in owners:
            yield from self._attribute_of(owner, node.attr, frame)
        if not owners:
            yield from guess(node.attr)
            yield Thing("table") if node.attr == "__table__" else Method(None, node.attr)

    def _attribute_of(self, owner: Value, name: str, frame: Frame | None) -> Iterable[Value]:
        if name == "__table__":
            return (Thing("table", owner.name if isinstance(owner, Imported) else _class_name(owner)),)
        if isinstance(owner, Imported):
            thing = guess(name) if name in _HELD and not is_library(owner.path) else ()
            return thing or (Imported(f"{owner.path}.{name}"),)
        if isinstance(owner, Class):
            return self._in_class(owner.node, name) or (Method(owner, name),)
        if isinstance(owner, Method) and name in _HELD:
            return guess(name)
        return (Method(owner, name),)

    def _in_class(self, node: ast.ClassDef, name: str) -> Values:
        scope = next((self.source.spots[s].scope for s in node.body if s in self.source.spots), None)
        found = scope.bindings.get(name, []) if scope is not None else []
        return tuple(value for binding in found for value in self._bound(binding, scope, None))

    def _subscript(self, owner: ast.expr, index: ast.expr, frame: Frame | None) -> Iterable[Value]:
        if isinstance(owner, ast.Attribute) and owner.attr == "tables":
            label = index.value if isinstance(index, ast.Constant) else ""
            return (Thing("table", str(label)),)
        values = self.values(owner, frame)
        key = index.value if isinstance(index, ast.Constant) else None
        return held.at_key(values, key)

    def _call(self, call: ast.Call, frame: Frame | None) -> Iterator[Value]:
        callees = self.values(call.func, frame)
        for callee in callees:
            yield from self._result(callee, call, frame)
        if not callees and isinstance(call.func, ast.Name):
            yield from of_builtin(call.func.id, self.arguments(call, frame))

    def _result(self, callee: Value, call: ast.Call, frame: Frame | None) -> Iterable[Value]:
        match callee:
            case Function(node=function):
                return self._returned(call, function, frame)
            case Imported():
                return of_import(callee, self.arguments(call, frame))
            case Method(owner=owner, name=name):
                named = {k.arg: self.values(k.value, frame) for k in call.keywords if k.arg}
                return of_method(owner, name, [self.values(a, frame) for a in call.args], named)
            case Thing(kind="maker"):
                return (Thing("session"),)
            case Thing(kind="session" | "connection"):
                return (callee,)
            case Class(node=node):
                return (Thing("session"),) if makes_session(node.name) else ()
        return ()

    def _returned(self, call: ast.Call, function: FunctionNode, frame: Frame | None) -> Iterable[Value]:
        if function in self._running or len(self._running) > _DEEPEST_CALLS:
            return ()
        inner = Frame(function, given(call, function, lambda node: self.values(node, frame)))
        self._running.append(function)
        try:
            return list(self._results(function, inner))
        finally:
            self._running.pop()

    def _results(self, function: FunctionNode, frame: Frame) -> Iterator[Value]:
        returned, yielded = self.source.returned(function)
        for node in returned:
            yield from self.values(node, frame)
        if yielded:
            several = tuple(self.values(node, frame) for node in yielded)
            # a context manager yields what `with` gives
            yield from (thing for values in several for thing in things(values, "session", "connection"))
            yield Items(several, None)


def _class_name(owner: Value) -> str:
    return owner.node.name if isinstance(owner, Class) else ""
