"""Data work seen at one node of a revision's tree, before it is put in a sentence."""

import ast
from dataclasses import dataclass

from datamigrate.thought.linting.findings import Severity


@dataclass(frozen=True)
class Sighting:
    """What was seen at `node`: the deeds in a few words each, or a sentence of its own."""

    node: ast.AST
    actions: tuple[str, ...]
    statements: int = 1
    wording: str = ""
    severity: Severity = "error"
