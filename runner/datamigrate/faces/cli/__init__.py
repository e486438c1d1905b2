"""The command line. Data goes to stdout, everything else to stderr."""

import sys

from datamigrate.faces.cli import beginning, examining, lasting, looking, undoing, working
from datamigrate.faces.cli.frame import cli
from datamigrate.words.exits import Exit

__all__ = ["beginning", "cli", "examining", "lasting", "looking", "main", "undoing", "working"]


def main() -> None:
    """The `datamigrate` command."""
    try:
        cli(prog_name="datamigrate")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(int(Exit.OK))
