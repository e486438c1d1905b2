"""The command line. Data goes to stdout, everything else to stderr."""

import gc
import sys

from datamigrate.faces.cli import beginning, examining, lasting, looking, quarantining, undoing, working
from datamigrate.faces.cli.frame import cli
from datamigrate.words.exits import Exit

__all__ = [
    "beginning",
    "cli",
    "examining",
    "lasting",
    "looking",
    "main",
    "quarantining",
    "undoing",
    "working",
]


MADE_TO_STAY = 50_000
"""Objects that may be made before Python looks for circles among them."""


def main() -> None:
    """The `datamigrate` command."""
    # modules, revisions and scripts are made to stay: looking for circles among them was a fifth of `status`
    gc.set_threshold(MADE_TO_STAY)
    try:
        cli(prog_name="datamigrate")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(int(Exit.OK))
    finally:
        # the process ends, and its memory with it: taking everything apart was another fifth
        gc.freeze()
