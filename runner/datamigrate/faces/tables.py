"""Tables for people, in which every cell is text: what stands in a database may look like markup."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

GAP = 2


class TextTable(Table):
    """A table without lines around it, with these columns.

    Where its rows fit they are printed as they are: rich itself measures and wraps every cell several times
    over, which takes seconds for a thousand rows.
    """

    def __init__(self, *columns: str) -> None:
        super().__init__(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            self.add_column(column, overflow="fold")

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row; a string is shown as it is."""
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [[_plain(cell) for cell in (column.header, *column.cells)] for column in self.columns]
        widths = [max(map(_width, cells)) for cells in columns]
        has_long = any("\n" in str(cell) for cells in columns for cell in cells)
        if has_long or sum(widths) + GAP * (len(widths) - 1) > options.max_width:
            yield from super().__rich_console__(console, options)
            return
        header, *rows = zip(*columns, strict=True)
        yield from Segment.apply_style(self._line(console, header, widths), console.get_style("bold"))
        for row in rows:
            yield from self._line(console, row, widths)

    def _line(self, console: Console, row: Sequence[str | Text], widths: Sequence[int]) -> Iterator[Segment]:
        """A line of the table; as few pieces as there are changes of style."""
        plain = ""
        for cell, width, column in zip(row, widths, self.columns, strict=True):
            missing = " " * (width - _width(cell))
            plain += missing if column.justify == "right" else ""
            if isinstance(cell, Text):
                yield Segment(plain)
                yield from Segment.apply_style(cell.render(console), console.get_style(cell.style))
                plain = ""
            else:
                plain += cell
            plain += ("" if column.justify == "right" else missing) + " " * GAP
        yield Segment(f"{plain.rstrip()}\n")


def _plain(cell: RenderableType) -> str | Text:
    return cell if isinstance(cell, Text) and (cell.style or cell.spans) else str(cell)


def _width(cell: str | Text) -> int:
    return cell.cell_len if isinstance(cell, Text) else cell_len(cell)


def printable(text: str) -> str:
    """The text in one line, with what a terminal would act upon written out: `\\n`, `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
