"""What stands in a database is text, whatever it looks like."""

from __future__ import annotations

import io

from rich.console import Console

from datamigrate.faces.tables import TextTable, printable


def test_a_cell_is_no_markup() -> None:
    table = TextTable("value")
    table.add_row("[/]")
    table.add_row("[red]x[/red]")
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    shown = console.file.getvalue()  # type: ignore[attr-defined] # a StringIO, which Console calls a file
    assert "[/]" in shown
    assert "[red]x[/red]" in shown


def test_what_a_terminal_would_act_upon_is_written_out() -> None:
    assert printable("ä b\n\x1b[31m\u202e") == "ä b\\n\\x1b[31m\\u202e"
    assert printable("Ähm, 你好") == "Ähm, 你好"
