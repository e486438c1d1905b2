"""Where words go: data to stdout, all else to stderr; in colour only where that is wanted."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import stamina.instrumentation
from rich.console import Console, RenderableType

from datamigrate.faces.app import Situation
from datamigrate.words import events
from datamigrate.words.errors import DatamigrateError
from datamigrate.words.exits import Exit

WIDE = 200


@dataclass(frozen=True, eq=False)
class Output:
    """The two streams of one call."""

    console: Console
    aside: Console
    as_json: bool
    quiet: bool
    log_json: bool

    def data(self, facts: dict[str, Any], shown: RenderableType | None) -> None:
        """What was asked for: as JSON for programs, else as it is shown to people."""
        if self.as_json:
            self.console.file.write(json.dumps({"version": 1} | facts, indent=2, default=str) + "\n")
        elif isinstance(shown, str):
            self.console.print(shown, markup=False, highlight=False, soft_wrap=True)
        elif shown is not None:
            self.console.print(shown)

    def say(self, sentence: str) -> None:
        """Something beside the data."""
        if not self.quiet:
            self.aside.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def error(self, error: DatamigrateError, verbose: bool = False) -> None:
        """What happened and what to do next."""
        if verbose:
            traceback.print_exception(error, file=self.aside.file)
        if self.as_json:
            facts = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
            self.console.file.write(
                json.dumps({"version": 1} | facts | {"exit": int(error.exit)}, indent=2) + "\n"
            )
        self.aside.print("[bold red]Error:[/] ", end="")
        self.aside.print(error.message, markup=False, highlight=False, soft_wrap=True)
        if error.hint:
            self.aside.print(error.hint, markup=False, highlight=False, soft_wrap=True)

    def surprise(self, error: Exception, verbose: bool) -> None:
        """An error that nobody has foreseen."""
        first = str(error).partition("\n")[0]
        self.error(
            DatamigrateError(
                f"Unexpected {type(error).__name__}: {first}",
                "" if verbose else "Run again with -v for the whole story. Committed batches are kept.",
            ),
        )
        if verbose:
            traceback.print_exception(error, file=self.aside.file)

    def problems(self, problems: Sequence[DatamigrateError]) -> Exit:
        """Tell of every problem; the exit code that follows."""
        for problem in problems:
            self.error(problem)
        return Exit.FAILED if problems else Exit.OK

    def complain(self, situation: Situation) -> None:
        """Say what a plan was made without."""
        if complaint := situation.whereabouts.complaint:
            self.say(f"Note: env.py could not be asked ({complaint}); assuming the table alembic_version.")

    def log(self, event: events.Event) -> None:
        """An event as a line of JSON on stderr."""
        self.aside.file.write(json.dumps(event.facts(), default=str) + "\n")
        self.aside.file.flush()


def output_for(as_json: bool, quiet: bool, color: str | None, log_format: str | None) -> Output:
    """The output as the options, NO_COLOR and FORCE_COLOR want it."""
    # retries are told by our own events
    stamina.instrumentation.set_on_retry_hooks([])
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    return Output(
        _console(sys.stdout, color), _console(sys.stderr, color), as_json, quiet, log_format == "json"
    )


def _console(stream: Any, color: str | None) -> Console:
    forced = True if color == "always" else None
    no_color = True if color == "never" else None
    is_terminal = stream.isatty()
    width = None if is_terminal or "COLUMNS" in os.environ else WIDE
    return Console(file=stream, force_terminal=forced, no_color=no_color, width=width, highlight=False)
