"""A compute function as one of bare values, with no row made for it and no mapping made by it."""

import __future__

import ast
import builtins
import tokenize
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from inspect import iscoroutinefunction, isfunction
from types import CodeType, FunctionType, ModuleType
from typing import Any, NoReturn

from datamigrate.authoring.forms import ComputeRows

Bare = Callable[..., Any]
"""Takes the values of the columns that are read, in their order, and returns what is to be written to the only column,
or `LEFT` to leave the row alone."""

_LEFT = " left"
_DEEPEST = 3
"""Functions within functions: to compare the code of another one takes twice as long."""

_LOOKS_AT_NAMES = (locals, vars, dir, eval, exec, builtins)
_OF_LOOPS_AND_THREADS = frozenset({"asyncio", "_asyncio", "anyio", "sniffio", "threading", "_thread"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Left:
    """What a bare function returns for a row that it leaves alone."""


LEFT = Left()


class _Unfit(Exception):
    """There is no such function: this one does more with its row than to read columns, or answers otherwise."""


@cache
def bare_function(form: ComputeRows) -> Bare | None:
    """The same function with its row's columns as its arguments; None unless nobody could tell the difference.

    It must be a function of its script's own, which uses `row` for nothing but `row.column`, returns
    `{"column": value}` or None, and waits for nothing; a coroutine has no use for its loop or its thread, either. What
    it is made from is the text that its code was made from, or it is not made.
    """
    function = form.function
    if form.takes_batch or len(form.written) != 1 or not isfunction(function):
        return None
    try:
        _refuse_those_who_look_around(function)
        node = _source_of(function.__code__)
        row = _only_parameter(node)
        reading = _Reading(row, [column.name for column in form.reads], form.written[0])
        code = _compiled(reading.bare(node), function.__code__)
    except (_Unfit, OSError, MemoryError, RecursionError, SyntaxError, ValueError):
        return None
    if row in _names_in(code):
        # it means something else by that name, too
        return None
    return FunctionType(code, function.__globals__, function.__name__, (LEFT,))


def _refuse_those_who_look_around(function: FunctionType) -> None:
    known = {**vars(builtins), **function.__globals__}
    used = [known[name] for name in _names_in(function.__code__) if name in known]
    if any(it is what for it in used for what in _LOOKS_AT_NAMES):
        raise _Unfit
    if iscoroutinefunction(function) and not _OF_LOOPS_AND_THREADS.isdisjoint(map(_home_of, used)):
        raise _Unfit


def _home_of(it: Any) -> str:
    home = it.__name__ if isinstance(it, ModuleType) else getattr(it, "__module__", None)
    return str(home or "").partition(".")[0]


def _source_of(code: CodeType) -> _Function:
    if _depth(code) > _DEEPEST:
        raise _Unfit
    with tokenize.open(code.co_filename) as file:
        tree = ast.parse(file.read())
    if code not in _within(_compile(tree, code)):
        raise _Unfit
    for node in tree.body:
        if isinstance(node, _Function) and node.name == code.co_name:
            first = node.decorator_list[0] if node.decorator_list else node
            if first.lineno == code.co_firstlineno:
                return node
    raise _Unfit


def _only_parameter(node: _Function) -> str:
    match node.args:
        case ast.arguments([], [row], None, [], _, None, []):
            return row.arg
    raise _Unfit


def _compiled(node: ast.FunctionDef, like: CodeType) -> CodeType:
    [code] = _within(_compile(ast.Module([node], []), like))
    return code


def _compile(tree: ast.Module, like: CodeType) -> CodeType:
    flags = like.co_flags & __future__.annotations.compiler_flag
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were given when the script was loaded
        code: CodeType = compile(tree, like.co_filename, "exec", flags, dont_inherit=True)
    return code


def _within(code: CodeType) -> list[CodeType]:
    return [const for const in code.co_consts if isinstance(const, CodeType)]


def _depth(code: CodeType) -> int:
    return 1 + max(map(_depth, _within(code)), default=0)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from (*code.co_varnames, *code.co_names, *code.co_cellvars, *code.co_freevars)
    for inner in _within(code):
        yield from _names_in(inner)


class _Reading(ast.NodeTransformer):
    """Turns what a function does with its row into what one of bare values does; raises _Unfit."""

    def __init__(self, row: str, columns: Sequence[str], written: str) -> None:
        self.row, self.columns, self.written = row, columns, written

    def bare(self, node: _Function) -> ast.FunctionDef:
        """The function itself."""
        body = [self.visit(statement) for statement in node.body]
        end = ast.Return(ast.Name(_LEFT, ast.Load()))
        arguments = [ast.arg(name) for name in (*map(self._of_column, self.columns), _LEFT)]
        bare = ast.parse("def bare(): pass").body[0]
        assert isinstance(bare, ast.FunctionDef)
        bare.name, bare.body = node.name, [*body, end]
        bare.args.args, bare.args.defaults = arguments, [ast.Constant(None)]
        return ast.fix_missing_locations(ast.copy_location(bare, node))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """`row.column` is the column's value, unless Python has an attribute of this name for itself."""
        if not self._is_row(node.value):
            return self.generic_visit(node)
        return self._value_of(node, None if node.attr.startswith("__") else node.attr)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """So is `row["column"]`."""
        if not self._is_row(node.value):
            return self.generic_visit(node)
        return self._value_of(node, node.slice.value if isinstance(node.slice, ast.Constant) else None)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """The row itself is not there."""
        if self._is_row(node):
            raise _Unfit
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        """The value alone is returned."""
        return ast.copy_location(ast.Return(self._answer(node.value)), node)

    def _answer(self, node: ast.expr | None) -> ast.expr:
        match node:
            case None | ast.Constant(None):
                return ast.Name(_LEFT, ast.Load())
            case ast.Dict([ast.Constant(str(key))], [value]) if key == self.written:
                answer = self.visit(value)
            case ast.IfExp(condition, then, otherwise):
                answer = ast.IfExp(self.visit(condition), self._answer(then), self._answer(otherwise))
            case _:
                raise _Unfit
        assert isinstance(answer, ast.expr)
        return ast.copy_location(answer, node)

    def _is_row(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self.row

    def _value_of(self, node: ast.Attribute | ast.Subscript, column: object) -> ast.AST:
        if column not in self.columns or not isinstance(node.ctx, ast.Load):
            raise _Unfit
        return ast.copy_location(ast.Name(self._of_column(str(column)), ast.Load()), node)

    def _of_column(self, column: str) -> str:
        # no name that anybody can write
        return f"{self.row}.{column}"

    def _unfit(self, node: ast.AST) -> NoReturn:
        raise _Unfit

    # what returns from elsewhere, or waits
    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _unfit
    visit_Await = visit_AsyncFor = visit_AsyncWith = visit_Yield = visit_YieldFrom = _unfit
    visit_Global = visit_Nonlocal = _unfit

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        """One that waits is none of ours, either."""
        if node.is_async:
            raise _Unfit
        return self.generic_visit(node)
