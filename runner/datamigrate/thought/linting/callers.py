"""Who calls the functions of the module, and with what: the values of their parameters."""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator

from datamigrate.thought.linting.source import FunctionNode, Source
from datamigrate.thought.linting.values import Function, Values

_MOST = 48

Evaluate = Callable[[ast.AST], Values]


class Callers:
    """The calls of each function of a source: by its name, and by variables that stand for it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._calls: dict[ast.AST, list[ast.Call]] = defaultdict(list)
        self._named: dict[str, list[FunctionNode]] = defaultdict(list)
        for node in source.spots:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._named[node.name].append(node)
        for call in source.calls:
            for function in self._named.get(_last(call.func), ()):
                self._calls[function].append(call)

    def learn(self, evaluate: Evaluate) -> None:
        """Add the calls through variables, as in `for step in steps: step(session)`."""
        for call in self.source.calls:
            if isinstance(call.func, ast.Name) and call.func.id not in self._named:
                for function in self._by_variable(call.func, evaluate):
                    self._calls[function.node].append(call)

    def of(self, function: FunctionNode) -> list[ast.Call]:
        """Some of the calls of `function`, enough to know its parameters by."""
        return self._calls[function][:_MOST]

    def _by_variable(self, name: ast.Name, evaluate: Evaluate) -> Iterator[Function]:
        _, found = self.source.reaching(name)
        if any(binding.how in ("assigned", "looped", "parameter") for binding in found):
            yield from (value for value in evaluate(name) if isinstance(value, Function))


def given(call: ast.Call, function: FunctionNode, evaluate: Evaluate) -> dict[str, Values]:
    """What a call gives to the parameters of a function."""
    parameters = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    if parameters[:1] in (["self"], ["cls"]):
        parameters = parameters[1:]
    filled: dict[str, Values] = {}
    for default, parameter in zip(reversed(function.args.defaults), reversed(parameters), strict=False):
        filled[parameter] = evaluate(default)
    for argument, parameter in zip(call.args, parameters, strict=False):
        if isinstance(argument, ast.Starred):
            break
        filled[parameter] = evaluate(argument)
    for keyword in call.keywords:
        if keyword.arg:
            filled[keyword.arg] = evaluate(keyword.value)
    return filled


def annotation(name: str, function: FunctionNode) -> str:
    """The last word of a parameter's annotation, or nothing."""
    for argument in (*function.args.args, *function.args.kwonlyargs):
        if argument.arg == name and argument.annotation is not None:
            return ast.unparse(argument.annotation).rpartition(".")[2].strip("'\"")
    return ""


def _last(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
