"""Tables for people, in which every cell is text: what stands in a database may look like markup."""

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


class TextTable(Table):
    """A table without lines around it, with these columns."""

    def __init__(self, *columns: str) -> None:
        super().__init__(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            self.add_column(column, overflow="fold")

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row; a string is shown as it is."""
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def printable(text: str) -> str:
    """The text in one line, with what a terminal would act upon written out: `\\n`, `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
