"""Where words go: data to stdout, all else to stderr; in colour only where that is wanted."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import stamina.instrumentation
from rich.console import Console, RenderableType

from datamigrate.faces.notices.logs import log_facts, write_json_to
from datamigrate.faces.situation import Situation
from datamigrate.words.errors import DatamigrateError
from datamigrate.words.exits import Exit
from datamigrate.words.secrets import redacted

WIDE = 200


@dataclass(frozen=True, eq=False)
class Output:
    """The two streams of one call."""

    console: Console
    aside: Console
    as_json: bool
    quiet: bool
    log_json: bool
    verbose: bool = False

    def as_asked(self, as_json: bool) -> "Output":
        """This output, or the same in JSON when a verb's own option asks for it."""
        return replace(self, as_json=self.as_json or as_json)

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
        if self.quiet:
            return
        sentence = redacted(sentence)
        if self.log_json:
            log_facts({"event": "Note", "message": sentence})
        else:
            self.aside.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def error(self, error: DatamigrateError) -> None:
        """What the whole call ends with, in place of its data."""
        if self.as_json:
            facts = {"version": 1} | error.facts() | {"exit": int(error.exit)}
            self.console.file.write(json.dumps(facts, indent=2) + "\n")
        self.tell(error)

    def tell(self, error: DatamigrateError) -> None:
        """What happened and what to do next; with -v also the traceback."""
        if self.verbose:
            self.aside.file.write(redacted("".join(traceback.format_exception(error))))
        if self.log_json:
            log_facts({"event": "Error"} | error.facts(), logging.ERROR)
            return
        self.aside.print("[bold red]Error:[/] ", end="")
        self.aside.print(error.message, markup=False, highlight=False, soft_wrap=True)
        if error.hint:
            self.aside.print(error.hint, markup=False, highlight=False, soft_wrap=True)

    def surprise(self, error: Exception) -> None:
        """An error that nobody has foreseen."""
        first = str(error).partition("\n")[0]
        hint = "" if self.verbose else "Run again with -v for the whole story. Committed batches are kept."
        unforeseen = DatamigrateError(f"Unexpected {type(error).__name__}: {first}", hint)
        unforeseen.__cause__ = error
        self.error(unforeseen)

    def problems(self, problems: Sequence[DatamigrateError]) -> Exit:
        """Tell of every problem, beside the data; the exit code that follows."""
        for problem in problems:
            self.tell(problem)
        return Exit.FAILED if problems else Exit.OK

    def complain(self, situation: Situation) -> None:
        """Say what a plan was made without."""
        if complaint := situation.whereabouts.complaint:
            self.say(f"Note: env.py could not be asked ({complaint}); assuming the table alembic_version.")


def output_for(
    as_json: bool, quiet: bool, color: str | None, log_format: str | None, verbose: bool = False
) -> Output:
    """The output as the options, NO_COLOR and FORCE_COLOR want it."""
    # retries are told by our own events
    stamina.instrumentation.set_on_retry_hooks([])
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    console, aside = _console(sys.stdout, color), _console(sys.stderr, color)
    write_json_to(aside.file if log_format == "json" else None)
    return Output(console, aside, as_json, quiet, log_format == "json", verbose)


def _console(stream: Any, color: str | None) -> Console:
    forced = True if color == "always" else None
    no_color = {"never": True, "always": False}.get(color or "")
    is_terminal = stream.isatty()
    width = None if is_terminal or "COLUMNS" in os.environ else WIDE
    return Console(file=stream, force_terminal=forced, no_color=no_color, width=width, highlight=False)
