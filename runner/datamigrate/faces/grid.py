"""Tables of many rows, quickly printed."""

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

GAP = 2


class Grid(Table):
    """A table without lines. Where its rows fit they are printed as they are; rich itself measures and wraps every
    cell several times over, which takes seconds for a thousand rows."""

    def __init__(self, *columns: str) -> None:
        super().__init__(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            self.add_column(column, overflow="fold")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [[_text(cell) for cell in (column.header, *column.cells)] for column in self.columns]
        widths = [max(text.cell_len for text in texts) for texts in columns]
        has_long = any("\n" in text.plain for texts in columns for text in texts)
        if has_long or sum(widths) + GAP * (len(widths) - 1) > options.max_width:
            yield from super().__rich_console__(console, options)
            return
        header = console.get_style("bold")
        for number, texts in enumerate(zip(*columns, strict=True)):
            line = list(self._line(console, texts, widths))
            yield from line if number else Segment.apply_style(line, header)
            yield Segment.line()

    def _line(self, console: Console, texts: Sequence[Text], widths: Sequence[int]) -> Iterator[Segment]:
        last = len(texts) - 1
        for number, (text, width) in enumerate(zip(texts, widths, strict=True)):
            missing = " " * (width - text.cell_len)
            is_right = self.columns[number].justify == "right"
            if is_right and missing:
                yield Segment(missing)
            yield from text.render(console)
            if after := ("" if is_right else missing) + " " * GAP * (number < last):
                yield Segment(after)


def _text(cell: object) -> Text:
    if isinstance(cell, Text):
        return cell
    plain = str(cell)
    return Text.from_markup(plain, end="") if "[" in plain else Text(plain, end="")
