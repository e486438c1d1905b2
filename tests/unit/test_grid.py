"""A grid says what rich's own table says, only sooner."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from datamigrate.faces.tables import TextTable

ROWS: list[list[str | Text]] = [
    ["short", Text("done", style="green"), "1"],
    ["a longer name", "plain [x] text", "1,000"],
    ["größer 日本", Text("styled", style="red"), ""],
]


def printed(table: Table, **how: Any) -> str:
    out = StringIO()
    Console(file=out, highlight=False, **how).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def both() -> tuple[Table, Table]:
    mine, theirs = TextTable("name", "state"), Table(box=None, header_style="bold", pad_edge=False)
    for name in ("name", "state"):
        theirs.add_column(name, overflow="fold")
    for table in (mine, theirs):
        table.add_column("rows", justify="right")
        for row in ROWS:
            table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return mine, theirs


@pytest.mark.parametrize("width", [200, 40, 20, 12])
def test_it_says_the_same_at_any_width(width: int) -> None:
    mine, theirs = both()
    assert printed(mine, width=width) == printed(theirs, width=width)


def test_colours_are_kept() -> None:
    mine, _ = both()
    shown = printed(mine, width=200, force_terminal=True, color_system="standard")
    assert "\x1b[32mdone\x1b[0m" in shown
    assert "\x1b[31mstyled\x1b[0m" in shown
    assert shown.startswith("\x1b[1mname")


def test_a_cell_of_several_lines_is_folded_as_before() -> None:
    mine, theirs = both()
    for table in (mine, theirs):
        table.add_row("two\nlines", "", "")
    assert printed(mine, width=200) == printed(theirs, width=200)
