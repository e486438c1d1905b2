"""Documentation as a test reads it: its fenced blocks, in order, and a shell that runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: `sh` is run, a `file=` is written, and `text` behind an `sh` is what it prints."""

    language: str
    info: str
    text: str

    @property
    def file(self) -> str | None:
        found = re.search(r"file=(\S+)", self.info)
        return found[1] if found else None


def blocks_of(document: Path) -> list[Block]:
    """The document's fenced blocks, in order."""
    return [Block(*found.groups()) for found in BLOCK.finditer(document.read_text("utf-8"))]


@dataclass
class Reader:
    """Somebody who follows a document to the letter in a directory of theirs."""

    directory: Path
    environment: dict[str, str]
    printed: str = ""

    def follow(self, blocks: list[Block]) -> None:
        """Do what each block says. An `sh` that fails, or does not print what follows it, is an error."""
        ran = False
        for block in blocks:
            if block.language == "sh":
                self._run(block.text)
            elif block.file:
                self._write(block.file, block.text)
            elif block.language == "text" and ran:
                self._compare(block.text)
            ran = block.language == "sh"

    def _run(self, script: str) -> None:
        bin_directory = str(Path(sys.executable).parent)
        path = os.pathsep.join([bin_directory, os.environ["PATH"]])
        finished = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"} | self.environment | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=250,
            check=False,
        )
        self.printed = finished.stdout
        assert finished.returncode == 0, f"{script}\n{self.printed}"

    def _write(self, pattern: str, text: str) -> None:
        there = sorted(self.directory.glob(pattern))
        file = there[0] if there else self.directory / pattern
        assert "*" not in file.name, f"nothing matches {pattern}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    def _compare(self, text: str) -> None:
        printed = squeezed(self.printed)
        for line in filter(None, map(squeezed, text.splitlines())):
            pattern = ".*".join(re.escape(part) for part in line.split("..."))
            assert re.search(pattern, printed), f"not printed: {line}\n{self.printed}"


def squeezed(text: str) -> str:
    """The text with every run of blanks as one, line by line."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines())
