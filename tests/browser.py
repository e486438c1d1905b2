"""A real browser without a window, as far as a page can be looked at with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

BROWSER_VARIABLE = "DATAMIGRATE_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")
SECONDS_TO_LOOK = 120
# what a browser asks of its maker without being told to is none of the page's
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--proxy-server=127.0.0.1:9",
)


@dataclass(frozen=True)
class Sight:
    """What was seen: the document as the browser understood it, its console, and the hosts asked for."""

    document: str
    console: list[str]
    asked_for: str


def find_chromium() -> str | None:
    """The browser that a variable names, or one on the PATH."""
    named = os.environ.get(BROWSER_VARIABLE)
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def look_at(chromium: str, page: Path, home: Path) -> Sight:
    """Open the page; `home` takes the browser's own files."""
    log = home / "requests.json"
    seen = _run(
        chromium, home, "--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom", page.as_uri()
    )
    console = [line for line in seen.stderr.splitlines() if ":CONSOLE" in line]
    return Sight(seen.stdout, console, log.read_text("utf-8", errors="replace"))


def shoot(chromium: str, page: Path, home: Path, *, dark: bool = False) -> Path:
    """Take a picture of the page."""
    picture = home / f"{'dark' if dark else 'light'}.png"
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    _run(chromium, home, *scheme, "--hide-scrollbars", f"--screenshot={picture}", page.as_uri())
    return picture


def print_to(chromium: str, page: Path, home: Path) -> Path:
    """Print the page."""
    paper = home / "page.pdf"
    _run(chromium, home, f"--print-to-pdf={paper}", page.as_uri())
    return paper


def rows_in(document: str) -> list[list[str]]:
    """The text of every table row, cell by cell."""
    rows = re.findall(r"<tr>(.*?)</tr>", document, re.DOTALL)
    return [[_text(cell) for cell in re.findall(r"<td\b[^>]*>(.*?)</td>", row, re.DOTALL)] for row in rows]


def _text(html: str) -> str:
    text = re.sub(r"<[^>]*>", "", html)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()


def _run(chromium: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # root has no sandbox to go into
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    return subprocess.run(
        [
            chromium,
            "--headless",
            "--disable-gpu",
            *alone,
            *QUIET,
            f"--user-data-dir={home / 'profile'}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=SECONDS_TO_LOOK,
        check=True,
    )
