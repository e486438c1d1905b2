"""Sessions and connections that leave the revision's sight: given to somebody else's function."""

import ast
import re
from collections.abc import Iterator

from datamigrate.thought.linting.meaning import Meaning
from datamigrate.thought.linting.sightings import Sighting
from datamigrate.thought.linting.values import Imported, Items, Method, Thing, Value, Values
from datamigrate.thought.linting.vocabulary import EXECUTING, is_library

_LOOKING = re.compile(
    r"^(?:has|is|get|list|inspect|check|exists|table|column|index|constraint|find|detect|fetch|load|count|"
    r"does|needs|should|reflect|make_inspector|ensure_not|assert|supports|generic_find|query|verify|validate|require|compare|raise|log|print|warn)(?:_|$)|_exists?$|"
    r"^inspect|^reflect|^has[A-Z]|^is[A-Z]|_(?:exists|present|name|names|version|dialect)(?:_|$)",
)
_BUILDING = re.compile(
    r"(?:^|_)(?:create|drop|add|alter|rename|recreate|remove|make|set|enable|disable|install|replace|change|convert)"
    r"(?:_\w+)?_(?:all|table|column|index|indexes|indices|constraint|type|enum|trigger|view|fk|fkey|key|keys|"
    r"function|extension|schema|sequence|partition|policy|pk|nullable|default|collation|lock|timeout)s?(?:_|$)|"
    r"^(?:create|drop|create_all|drop_all|reflect|configure|compile|bind|set_session|lock)$",
    re.IGNORECASE,
)
_READING_SESSION = re.compile(r"^(?:has|is|inspect|exists|check)(?:_|$)|_exists?$")
_SESSION = re.compile(r"session", re.IGNORECASE)


class Helpers:
    """Judges the calls that take a session or connection along."""

    def __init__(self, meaning: Meaning) -> None:
        self.meaning = meaning

    def sightings(self, call: ast.Call) -> Iterator[Sighting]:
        """A warning for a call that hands its session or connection to a function that cannot be seen."""
        if not (taken := self._taken_along(call)):
            return
        callees = self.meaning.values(call.func)
        unknown = not callees and isinstance(call.func, ast.Name | ast.Subscript)
        chosen = unknown and self._is_chosen(call.func)
        helper = next((name for c in callees if (name := _foreign(c, taken))), None)
        if helper is None and chosen:
            helper = "a function chosen when it runs"
        if helper is not None:
            wording = f"the {taken} is handed to {helper}"
            remark = ": it may change rows out of this check's sight"
            yield Sighting(call, _calling(helper), 1, wording, remark, "warning")

    def _taken_along(self, call: ast.Call) -> str:
        kinds = {
            value.kind
            for values in self.meaning.arguments(call)
            for value in (*values, *_inside(values))
            if isinstance(value, Thing)
        }
        return "session" if "session" in kinds else "connection" if "connection" in kinds else ""

    def _is_chosen(self, function: ast.expr) -> bool:
        if isinstance(function, ast.Subscript):
            return True
        if not isinstance(function, ast.Name):
            return False
        _, found = self.meaning.source.reaching(function)
        return bool(found) and all(binding.how in ("looped", "assigned") for binding in found)


def _calling(helper: str) -> tuple[str, ...]:
    name = helper.rpartition(".")[2].removesuffix("()")
    return (f"CALL {name}",) if name.isidentifier() else ()


def _inside(values: Values) -> Iterator[Value]:
    for value in values:
        if isinstance(value, Items) and value.keys is None:
            yield from (v for member in value.members[:8] for v in member)


def _foreign(callee: Value, taken: str) -> str | None:
    """The name of a helper that is neither Alembic's nor ours, unless it says that it only looks or builds."""
    if isinstance(callee, Imported) and not is_library(callee.path):
        shown = callee.path
    elif isinstance(callee, Method) and (callee.owner is None or isinstance(callee.owner, Method)):
        shown = callee.name
    else:
        return None
    name = shown.rpartition(".")[2]
    harmless = _READING_SESSION if taken == "session" else _LOOKING
    if harmless.search(name) or _BUILDING.search(name) or _SESSION.search(name) or name in EXECUTING:
        return None
    return f"{shown}()"
