"""`lint_revision`: from the text of a schema revision to the data work in it."""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator

from datamigrate.thought.linting.calls import Calls
from datamigrate.thought.linting.findings import DATA, UNREADABLE, Finding
from datamigrate.thought.linting.helpers import Helpers
from datamigrate.thought.linting.meaning import Meaning
from datamigrate.thought.linting.orm import Objects
from datamigrate.thought.linting.sightings import Sighting
from datamigrate.thought.linting.source import Source
from datamigrate.thought.linting.sql import called_routines, writing_routines
from datamigrate.thought.linting.suppress import allowances
from datamigrate.thought.linting.values import things

_ROOTS = re.compile(
    r"(?:up|down)grade|(?:up|down)grade_\w*|data_(?:up|down)grades?|schema_(?:up|down)grades?|run_\w+"
)


def lint_revision(source: str, file: str) -> tuple[Finding, ...]:
    """What manipulates data in the revision whose text is `source`, in the order of its lines.

    `file` is only repeated in the findings. Nothing is imported, run or opened.
    """
    text = source.removeprefix("\ufeff")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except SyntaxError as error:
        return (_unreadable(file, error.lineno or 1, error.msg),)
    except ValueError as error:
        return (_unreadable(file, 1, str(error)),)
    except (RecursionError, MemoryError):
        return (_unreadable(file, 1, "too deeply nested"),)
    try:
        return tuple(_Lint(tree, text, file).findings())
    except RecursionError:
        return (_unreadable(file, 1, "too deeply nested"),)


def _unreadable(file: str, line: int, reason: str) -> Finding:
    return Finding(UNREADABLE, "error", file, line, f"This is not a Python file that can be read: {reason}")


class _Lint:
    """One revision on its way from tree to findings."""

    def __init__(self, tree: ast.Module, text: str, file: str) -> None:
        self.file = file
        self.source = Source(tree)
        self.meaning = Meaning(self.source)
        self.allowed = allowances(text)
        self.revision = _revision(tree)

    def findings(self) -> Iterator[Finding]:
        seen: set[tuple[int, str]] = set()
        for sighting in sorted(self._sightings(), key=lambda s: _position(s.node)):
            if self.allowed.cover(sighting.node, self.source):
                continue
            finding = self._finding(sighting)
            if (finding.line, finding.message) not in seen:
                seen.add((finding.line, finding.message))
                yield finding

    def _sightings(self) -> list[Sighting]:
        calls, helpers, objects = Calls(self.meaning), Helpers(self.meaning), Objects(self.meaning)
        found: list[Sighting] = []
        models: dict[str, ast.Call] = {}
        for node in self._reachable():
            found += objects.sightings(node)
            if isinstance(node, ast.Call):
                here = [*calls.sightings(node)]
                found += here or helpers.sightings(node)
                for path in objects.imported(node):
                    models.setdefault(path, node)
        return [*found, *self._imports(models), *self._routines(list(calls.executed))]

    def _reachable(self) -> list[ast.AST]:
        """The nodes of the module and of those functions that anybody refers to."""
        named = {node.id for node in self.source.spots if isinstance(node, ast.Name)}
        named |= {node.attr for node in self.source.spots if isinstance(node, ast.Attribute)}
        defined = [n for n in self.source.tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        is_revision = any(_ROOTS.fullmatch(function.name) for function in defined)
        dead = {f for f in defined if is_revision and f.name not in named and not _ROOTS.fullmatch(f.name)}
        if not dead:
            return list(self.source.spots)
        return [
            n for n in self.source.spots if n not in dead and not dead.intersection(self.source.parents(n))
        ]

    def _imports(self, models: dict[str, ast.Call]) -> Iterator[Sighting]:
        """One sighting per import statement, naming the models that it brings in for data work."""
        by_statement: dict[ast.AST, list[str]] = {}
        for path, call in models.items():
            for scope in {self.source.top, self.source.spots[call].scope}:
                for bindings in scope.bindings.values():
                    for binding in bindings:
                        if binding.how == "imported" and binding.source and _is_of(path, binding.dotted):
                            by_statement.setdefault(binding.source, []).append(binding.dotted)
        for statement, names in by_statement.items():
            several = ", ".join(dict.fromkeys(name.lstrip(".") for name in names))
            plural = "models are" if len(set(names)) > 1 else "model is"
            remark = f"; the application's {plural} imported for rows, and will change while this file stays"
            yield Sighting(statement, (), 0, several, remark, "warning")

    def _routines(self, executed: list[str]) -> Iterator[Sighting]:
        """Functions with data work in them that the revision defines and then calls itself."""
        writing = {name for text in executed for name in writing_routines(text)}
        for text in executed if writing else ():
            for name in sorted(writing & called_routines(text)):
                yield from self._calling(text, name)

    def _calling(self, text: str, name: str) -> Iterator[Sighting]:
        for call in self.source.calls:
            values = [value for argument in call.args for value in self.meaning.values(argument)]
            if any(getattr(value, "text", None) == text for value in values):
                yield Sighting(call, (f"CALL {name}",), remark=": the function changes rows")
                return

    def _finding(self, sighting: Sighting) -> Finding:
        what = sighting.wording or _several(sighting.actions)
        count = f" ({sighting.statements} statements)" if sighting.statements > 1 else ""
        return Finding(
            DATA,
            sighting.severity,
            self.file,
            _position(sighting.node)[0],
            f"{what}{self._where(sighting.node)}{count}{sighting.remark}",
            sighting.statements,
            sighting.actions,
            self.revision,
            sighting.by_row or self._loops_over_rows(sighting.node),
        )

    def _where(self, node: ast.AST) -> str:
        if isinstance(node, ast.Import | ast.ImportFrom):
            return ""
        function = next(self.source.functions_around(node), None)
        place = f" in {function.name}()" if function is not None else " at the top of the file"
        return f"{place}, for each row of a result" if self._loops_over_rows(node) else place

    def _loops_over_rows(self, node: ast.AST) -> bool:
        loops = (p.iter for p in self.source.parents(node) if isinstance(p, ast.For | ast.AsyncFor))
        return any(things(self.meaning.values(items), "rows", "result", "query") for items in loops)


def _is_of(path: str, dotted: str) -> bool:
    return path == dotted or path.startswith(f"{dotted}.")


def _several(actions: Iterable[str]) -> str:
    shown = list(actions)
    if len(shown) > 3:
        shown = [*shown[:3], f"{len(shown) - 3} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _position(node: ast.AST) -> tuple[int, int]:
    return int(getattr(node, "lineno", 1)), int(getattr(node, "col_offset", 0))


def _revision(tree: ast.Module) -> str:
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="revision")], value=ast.Constant(value=str(revision))):
                return revision
            case ast.AnnAssign(target=ast.Name(id="revision"), value=ast.Constant(value=str(revision))):
                return revision
    return ""
