"""What a Python expression can stand for, as far as a linter has to know."""

import ast
from dataclasses import dataclass
from typing import Literal

from datamigrate.thought.linting.source import FunctionNode

Kind = Literal[
    "session", "maker", "connection", "query", "result", "rows", "table", "statement", "perhaps", "plain"
]


@dataclass(frozen=True)
class Text:
    """A string; unknown parts are holes. `mixed` ones came of several alternatives put together."""

    text: str
    mixed: bool = False


@dataclass(frozen=True)
class Items:
    """A collection: its first members, each with what it can be, how many there are, and a dict's keys."""

    members: tuple["Values", ...]
    size: int | None
    keys: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class Function:
    """A function of this module."""

    node: FunctionNode


@dataclass(frozen=True)
class Class:
    """A class of this module."""

    node: ast.ClassDef


@dataclass(frozen=True)
class Imported:
    """Something of another module, by its dotted name."""

    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def root(self) -> str:
        return self.path.lstrip(".").partition(".")[0] if not self.path.startswith(".") else "."


@dataclass(frozen=True)
class Thing:
    """An object of SQLAlchemy's that matters here; `label` names the table or says what a statement does.

    "perhaps" is what `x.update()` gives when nobody knows what x is.
    """

    kind: Kind
    label: str = ""


@dataclass(frozen=True)
class Method:
    """An attribute of a thing, not called yet; an owner of None is unknown."""

    owner: "Value | None"
    name: str


Value = Text | Items | Function | Class | Imported | Thing | Method
Values = tuple[Value, ...]
"""The alternatives; none at all means that nothing is known."""

PLAIN: Values = (Thing("plain"),)


def things(values: Values, *kinds: Kind) -> list[Thing]:
    """Those of `values` that are things of one of the `kinds`."""
    return [value for value in values if isinstance(value, Thing) and value.kind in kinds]


def texts(values: Values) -> list[Text]:
    """Those of `values` that are strings."""
    return [value for value in values if isinstance(value, Text)]
