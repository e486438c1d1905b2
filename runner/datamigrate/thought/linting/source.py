"""The text of a revision as a tree that knows, for each place, which names mean what there."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Position = tuple[int, int]
Block = tuple[tuple[ast.AST, str], ...]
"""The compound statements around a place, inside its function, each with the branch that it is in."""

How = Literal["assigned", "augmented", "looped", "entered", "parameter", "defined", "imported", "lost"]

_MOST_REACHING = 64
_MEANINGFUL = (
    ast.stmt,
    ast.expr,
    ast.arguments,
    ast.arg,
    ast.keyword,
    ast.comprehension,
    ast.withitem,
    ast.ExceptHandler,
    ast.match_case,
)
_GROWING = frozenset({"append", "add", "insert", "extend", "appendleft"})


@dataclass(frozen=True)
class Binding:
    """One way in which a name gets its value: from `source`, taken apart along `path`."""

    name: str
    how: How
    source: ast.AST | None
    position: Position
    block: Block
    path: tuple[int, ...] = ()
    dotted: str = ""


@dataclass(eq=False)
class Scope:
    """The names of a module, function or class, and the scope around it."""

    node: ast.AST
    outer: "Scope | None"
    bindings: dict[str, list[Binding]] = field(default_factory=lambda: defaultdict(list))
    growth: dict[str, list[tuple[str, ast.expr]]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Spot:
    """Where in the tree a node stands."""

    scope: Scope
    block: Block
    parent: ast.AST | None


class Source:
    """A revision's syntax tree with the names and the surroundings of every node."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.spots: dict[ast.AST, Spot] = {}
        self.calls: list[ast.Call] = []
        self.top = Scope(tree, None)
        self._visit()

    def reaching(self, use: ast.Name) -> tuple[Scope | None, list[Binding]]:
        """The bindings that may give `use` its value, and the scope that they are in."""
        here = self.spots[use]
        scope: Scope | None = here.scope
        while scope is not None:
            found = scope.bindings.get(use.id)
            visible = scope is here.scope or not isinstance(scope.node, ast.ClassDef)
            if found and visible:
                position = (use.lineno, use.col_offset)
                return scope, _reaching(found, position, here.block) if scope is here.scope else found
            scope = scope.outer
        return None, []

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """What is around `node`, from the inside out."""
        while (parent := self.spots[node].parent) is not None:
            yield parent
            node = parent

    def statement(self, node: ast.AST) -> ast.AST:
        """The simple statement that `node` is part of, or `node` itself in the head of a compound one."""
        for parent in self.parents(node):
            if isinstance(parent, ast.stmt):
                return node if hasattr(parent, "body") else parent
        return node

    def functions_around(self, node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """The named functions that `node` is in, from the inside out."""
        for parent in self.parents(node):
            if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef):
                yield parent

    def returned(self, function: FunctionNode) -> tuple[list[ast.expr], list[ast.expr]]:
        """What a function returns, and what it yields."""
        if isinstance(function, ast.Lambda):
            return [function.body], []
        return self._results.get(function, ([], []))

    @cached_property
    def _results(self) -> dict[ast.AST, tuple[list[ast.expr], list[ast.expr]]]:
        results: dict[ast.AST, tuple[list[ast.expr], list[ast.expr]]] = defaultdict(lambda: ([], []))
        for node, spot in self.spots.items():
            if isinstance(node, ast.Return) and node.value:
                results[spot.scope.node][0].append(node.value)
            elif isinstance(node, ast.Yield | ast.YieldFrom) and node.value:
                results[spot.scope.node][1].append(node.value)
        return results

    def _visit(self) -> None:
        """Walk the tree with a list of our own: a deep one must not exhaust Python's stack."""
        waiting: list[tuple[ast.AST, Spot]] = [(self.tree, Spot(self.top, (), None))]
        while waiting:
            node, spot = waiting.pop()
            self.spots[node] = spot
            _bind(node, spot)
            if isinstance(node, ast.Call):
                self.calls.append(node)
            waiting.extend(reversed(list(_children(node, spot))))
        for scope in {id(spot.scope): spot.scope for spot in self.spots.values()}.values():
            for found in scope.bindings.values():
                found.sort(key=lambda binding: binding.position)


def _children(node: ast.AST, spot: Spot) -> Iterator[tuple[ast.AST, Spot]]:
    inner = spot.scope
    if isinstance(node, FunctionNode | ast.ClassDef):
        inner = Scope(node, spot.scope)
    for name, value in ast.iter_fields(node):
        inside = name in ("body", "args") and inner is not spot.scope
        block = () if inside else spot.block
        if isinstance(node, ast.stmt | ast.ExceptHandler) and isinstance(value, list) and not inside:
            block = (*spot.block, (node, name))
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            block = (*spot.block, (node, "comprehension"))
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, _MEANINGFUL):
                yield child, Spot(inner if inside else spot.scope, block, node)


def _bind(node: ast.AST, spot: Spot) -> None:
    for binding in _bindings(node, spot):
        spot.scope.bindings[binding.name].append(binding)
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=verb), args=[*_, grown]):
            if verb in _GROWING:
                spot.scope.growth[name].append((verb, grown))
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name))], value=grown):
            spot.scope.growth[name].append(("append", grown))


def _bindings(node: ast.AST, spot: Spot) -> Iterator[Binding]:
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _taken_apart(target, "assigned", value, node, spot.block)
        case ast.AnnAssign(target=target, value=value) if value is not None:
            yield from _taken_apart(target, "assigned", value, node, spot.block)
        case ast.NamedExpr(target=target, value=value):
            yield from _taken_apart(target, "assigned", value, node, spot.block)
        case ast.AugAssign(target=target):
            yield from _taken_apart(target, "augmented", node, node, spot.block)
        case ast.For(target=target, iter=items) | ast.AsyncFor(target=target, iter=items):
            yield from _taken_apart(target, "looped", items, node, (*spot.block, (node, "body")))
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            block = (*spot.block, (node, "comprehension"))
            for part in node.generators:
                yield from _taken_apart(part.target, "looped", part.iter, node, block)
        case ast.With(items=items) | ast.AsyncWith(items=items):
            for item in items:
                if item.optional_vars is not None:
                    yield from _taken_apart(
                        item.optional_vars, "entered", item.context_expr, node, spot.block
                    )
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield Binding(node.name, "defined", node, (node.lineno, node.col_offset), spot.block)
        case ast.arg():
            yield Binding(node.arg, "parameter", node, (0, 0), ())
        case ast.Import() | ast.ImportFrom():
            yield from _imported(node, spot)
        case ast.ExceptHandler(name=str(name)):
            yield Binding(name, "lost", None, (node.lineno, node.col_offset), spot.block)


def _taken_apart(
    target: ast.expr, how: How, source: ast.AST, at: ast.AST, block: Block, path: tuple[int, ...] = ()
) -> Iterator[Binding]:
    if isinstance(target, ast.Name):
        # an assignment counts from its end: the name on its right still means what it meant before
        edge = "end_" if how in ("assigned", "augmented") else ""
        position = (getattr(at, f"{edge}lineno", 0), getattr(at, f"{edge}col_offset", 0))
        yield Binding(target.id, how, source, position, block, path)
    elif isinstance(target, ast.Tuple | ast.List) and len(path) < 4:
        for index, part in enumerate(target.elts):
            yield from _taken_apart(part, how, source, at, block, (*path, index))


def _imported(node: ast.Import | ast.ImportFrom, spot: Spot) -> Iterator[Binding]:
    origin = "." * node.level + (node.module or "") if isinstance(node, ast.ImportFrom) else ""
    for alias in node.names:
        name = alias.asname or (alias.name if origin else alias.name.partition(".")[0])
        dotted = alias.name if alias.asname else name
        if origin:
            dotted = f"{origin}.{alias.name}"
        yield Binding(name, "imported", node, (node.lineno, 0), spot.block, dotted=dotted)


def _reaching(found: list[Binding], position: Position, block: Block) -> list[Binding]:
    """Those that may still hold at `position`: a later binding on every way there hides an earlier one."""
    reaching: list[Binding] = []
    certain: Binding | None = None
    for binding in reversed([b for b in found if b.position < position][-_MOST_REACHING:]):
        reaching.append(binding)
        if block[: len(binding.block)] == binding.block:
            certain = binding
            break
    loops = [part for part in block if isinstance(part[0], ast.For | ast.AsyncFor | ast.While)]
    for binding in (b for b in found if b.position > position):
        again = [loop for loop in loops if loop in binding.block]
        if len(reaching) < _MOST_REACHING and again and (certain is None or again[-1] not in certain.block):
            reaching.append(binding)
    return reaching or found
