"""A notice to a command of the project's own: as JSON on its standard input, in short in its environment."""

import json
import os
import subprocess
from dataclasses import dataclass

import anyio

from datamigrate.faces.notices.notice import Notice

PATIENCE = 30.0


class CommandFailed(Exception):
    """The command could not be run, ended with another code than 0, or not at all."""


@dataclass(frozen=True)
class Command:
    """The words of the command; no shell reads them."""

    words: tuple[str, ...]
    name: str = "command"

    async def __call__(self, notice: Notice) -> None:
        """Run it to its end. Raises CommandFailed."""
        environment = {
            "DATAMIGRATE_NOTICE": notice.kind,
            "DATAMIGRATE_MIGRATION": notice.migration,
            "DATAMIGRATE_TEXT": notice.text,
            "DATAMIGRATE_DATABASE": notice.database,
        }
        try:
            with anyio.fail_after(PATIENCE):
                ended = await anyio.run_process(
                    self.words,
                    input=json.dumps(notice.payload(), default=str).encode(),
                    env=os.environ | environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=False,
                )
        except TimeoutError:
            raise CommandFailed(f"{self.words[0]} did not end within {PATIENCE:g} s") from None
        except OSError as error:
            raise CommandFailed(f"{self.words[0]}: {error.strerror}") from None
        if ended.returncode:
            raise CommandFailed(f"{self.words[0]} ended with {ended.returncode}")
