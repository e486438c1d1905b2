"""Verbs that write files of the project: init, new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from datamigrate.faces.cli.frame import Get, cli, verb

if TYPE_CHECKING:
    from datamigrate.faces.output import Output


@cli.command()
@verb
def init(output: Output, get: Get) -> None:
    """Write [tool.datamigrate] and datamigrations/ into a project that has Alembic."""
    from datamigrate.faces.setting_up import set_up

    made = set_up(get().project)
    output.data({"written": [str(p) for p in made.written], "kept": [str(p) for p in made.kept]}, None)
    for path in made.written:
        output.say(f"wrote {path}")
    for path in made.kept:
        output.say(f"kept {path}")
    output.say("In env.py, so that schema can wait for data: import datamigrate.alembic, and")
    output.say("    context.configure(..., **datamigrate.alembic.hooks())")
    output.say('Next: `datamigrate new -m "populate full name"`, edit it, then `datamigrate run`.')


@cli.command()
@click.option("-m", "--message", required=True, help="What the script does, in a few words.")
@click.option("--requires", multiple=True, metavar="REV", help="Alembic revision [default: the heads].")
@click.option(
    "--kind", type=click.Choice(["update", "compute", "batch", "delete", "free"]), default="update",
    show_default=True,
)  # fmt: skip
@verb
def new(output: Output, get: Get, message: str, requires: tuple[str, ...], kind: str) -> None:
    """Write a new data script."""
    path = get().new(message, requires, kind)
    output.data({"file": str(path)}, str(path))
