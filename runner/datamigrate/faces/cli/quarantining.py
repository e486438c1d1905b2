"""Verbs for the rows that were set aside: quarantine list, export, drop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datamigrate.faces.cli.frame import Get, cli, verb
from datamigrate.words.errors import UsageError
from datamigrate.words.rows import human_rows

if TYPE_CHECKING:
    from datamigrate.faces.output import Output


@cli.group()
def quarantine() -> None:
    """Look at rows that were set aside, or forget them. `retry NAME --quarantined` tries them again."""


@quarantine.command("list")
@click.argument("name")
@verb
def list_(output: Output, get: Get, name: str) -> None:
    """List the rows of a migration that were set aside: key, error, how often tried. Writes nothing."""
    import anyio

    from datamigrate.faces.quarantining import quarantine_table, row_facts, rows_in_quarantine

    rows = anyio.run(rows_in_quarantine, get(), name)
    facts = {"name": name, "quarantine": [row_facts(row) for row in rows]}
    output.data(facts, quarantine_table(rows) if rows else None)
    if not rows:
        output.say(f"{name} has no rows in quarantine.")


@quarantine.command()
@click.argument("name")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option(
    "--output",
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write it there [default: stdout].",
)
@verb
def export(output: Output, get: Get, name: str, form: str, file: Path | None) -> None:
    """Write these rows as JSON, one a line, or as CSV."""
    import anyio

    from datamigrate.faces.quarantining import as_csv, as_lines, rows_in_quarantine

    rows = anyio.run(rows_in_quarantine, get(), name)
    text = as_csv(rows) if form == "csv" else as_lines(rows)
    if file is None:
        output.console.file.write(text)
        return
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}.") from None
    output.say(f"{human_rows(len(rows))} in {file}.")


@quarantine.command()
@click.argument("name")
@click.option("--key", "keys", multiple=True, help="Only the row with this key, as it is listed.")
@click.option("--reason", help="Why; kept in the history.")
@verb
def drop(output: Output, get: Get, name: str, keys: tuple[str, ...], reason: str | None) -> None:
    """Forget these rows: a run that meets them again treats them like any other."""
    import anyio

    from datamigrate.faces.quarantining import drop_quarantined

    dropped = anyio.run(drop_quarantined, get(), name, keys, reason)
    output.data({"name": name, "dropped": dropped}, None)
    output.say(f"{name}: {human_rows(dropped)} forgotten.")
