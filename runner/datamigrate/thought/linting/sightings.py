"""Data work seen at one node of a revision's tree, before it is put in a sentence."""

import ast
from dataclasses import dataclass

from datamigrate.thought.linting.findings import Severity


@dataclass(frozen=True)
class Sighting:
    """What was seen at `node`: the deeds in a few words each, told by `wording` where that says more.

    `remark` goes on where the sentence ends; `by_row` is work that Python does row by row.
    """

    node: ast.AST
    actions: tuple[str, ...]
    statements: int = 1
    wording: str = ""
    remark: str = ""
    severity: Severity = "error"
    by_row: bool = False
