"""The verb that lasts: worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from datamigrate.faces.cli.frame import Get, cli, duration, verb
from datamigrate.faces.cli.working import ALLOW_SLOW, BATCH_SIZE, METRICS_PORT, NICENESS, NO_THROTTLE, WORKERS
from datamigrate.words.exits import Exit

if TYPE_CHECKING:
    from datamigrate.faces.output import Output


@cli.command()
@click.option("--due", is_flag=True, help="Only what has a schedule, when it is due.")
@click.option("--tag", "tags", multiple=True, help="Only migrations with this tag, and what they depend on.")
@click.option(
    "--poll",
    callback=duration,
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="Look this often for something to do.",
)
@BATCH_SIZE
@WORKERS
@NICENESS
@ALLOW_SLOW
@click.option("--ignore-window", is_flag=True, help="Work at any hour, whatever windows say.")
@NO_THROTTLE
@METRICS_PORT
@verb
def worker(output: Output, get: Get, /, **options: Any) -> Exit:
    """Stay, and run what is pending or due whenever there is something. SIGTERM ends it (exit 0)."""
    import anyio

    from datamigrate.faces.running import stay_and_work

    return anyio.run(stay_and_work, output, get(), options)
