"""What a test says when a script has not stood it: what happened, to which rows, what to change."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from datamigrate.doing.rehearsal import Rehearsal
from datamigrate.faces.rehearsing import HIDDEN, LONGEST, change_table
from datamigrate.testing.rows import Difference

SHOWN = 5
WIDTH = 120


class NotProven(AssertionError):
    """Read the rows it shows, then change what its last lines name."""


def not_proven(
    said: str,
    advice: str,
    rows: Sequence[Difference] = (),
    mask: Iterable[str] = (),
    labels: tuple[str, str] = ("before", "after"),
) -> NotProven:
    """The error with the first few of the rows, a line for each column; `labels` say what their two states
    are."""
    parts = [said, _printed(_table(rows[:SHOWN], frozenset(mask), labels)) if rows else ""]
    if len(rows) > SHOWN:
        parts.append(f"... and {len(rows) - SHOWN:,} rows more")
    return NotProven("\n\n".join(part for part in (*parts, f"What to change: {advice}") if part))


def not_steady(rehearsal: Rehearsal, mask: frozenset[str]) -> NotProven:
    """A batch whose second pass changed rows again."""
    again = sum(sample.again for sample in rehearsal.samples)
    columns = sorted({column for sample in rehearsal.samples for column in sample.unsteady})
    what = f" again ({', '.join(columns)} differed)" if columns else " again"
    return NotProven(
        f"{rehearsal.name} is not idempotent: a second pass over the same batch changed {again:,} rows{what}.\n\n"
        f"{_printed(change_table(rehearsal, mask))}\n\n"
        "What to change: `pending` must not select a row that is done, and the new value must not depend on "
        "the old one of the same column."
    )


def _table(rows: Sequence[Difference], mask: frozenset[str], labels: tuple[str, str]) -> Table:
    table = Table(box=None, header_style="none", pad_edge=False)
    for column in ("table", "key", "column", *labels):
        table.add_column(column, overflow="fold")
    for row in rows:
        for name in row.changed:
            before, after = (_shown(side, name, mask) for side in (row.before, row.after))
            table.add_row(row.table, row.key, name, before, after)
    return table


def _shown(row: Any, name: str, mask: frozenset[str]) -> str:
    if row is None:
        return "(no row)"
    if row[name] is None:
        return "NULL"
    text = str(row[name])
    return HIDDEN if name in mask else text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _printed(table: Table) -> str:
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, markup=False)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined] # the file is the StringIO above
    return "\n".join(line.rstrip() for line in text.splitlines())
