"""A contender in a process of its own, so that its memory is its own.

What it needs is imported before the clock starts: start-up is measured elsewhere.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import ROOT

if TYPE_CHECKING:
    from bench.timing import Changes

OURS = (
    "datamigrate.faces.app",
    "datamigrate.faces.project",
    "datamigrate.faces.running",
    "datamigrate.doing.runner",
    "anyio._backends._asyncio",
)
OUR_DRIVER = {"postgresql": "asyncpg", "sqlite": "aiosqlite"}
STATUS = Path("/proc/self/status")
THEIR_DRIVER = {"postgresql": "psycopg", "sqlite": "sqlite3"}


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked, and tell how long that took, and each of its changes alone (seconds), and the most memory held meanwhile
    (bytes)."""
    driver = (OUR_DRIVER if asked["ours"] else THEIR_DRIVER)[asked["dialect"]]
    importlib.import_module(driver)
    work = (
        _ours(asked["url"], asked["options"])
        if asked["ours"]
        else _theirs(Path(asked["file"]), asked["url"], asked["options"])
    )
    changes = _changes() if asked["ours"] else None
    processor, began = time.process_time(), time.monotonic()
    work()
    ended = time.monotonic()
    return {
        "began": began,
        "seconds": ended - began,
        "cpu": time.process_time() - processor,
        "changes": changes.seconds if changes else [],
        "peak": _peak(),
    }


def _changes() -> "Changes":
    # it imports SQLAlchemy, whose memory is not to be that of those who do without
    from bench.timing import Changes

    return Changes()


def _peak() -> int:
    """The most memory held so far, in bytes."""
    if STATUS.exists():
        [line] = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    # where there is no /proc; on Linux it begins with what the parent held
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _ours(url: str, options: list[str]) -> Callable[[], None]:
    for module in OURS:
        importlib.import_module(module)
    from datamigrate.faces.cli import cli

    def run() -> None:
        code = cli.main(
            ["run", "--url", url, "--log-format", "json", *options],
            prog_name="datamigrate",
            standalone_mode=False,
        )
        if code:
            sys.exit(f"datamigrate run ended with {code}")

    return run


def _theirs(file: Path, url: str, words: list[str]) -> Callable[[], None]:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    if file.name.startswith("django"):
        from bench.contenders.given import set_django_up

        set_django_up(url)
    migrate = importlib.import_module(name).migrate
    return lambda: migrate(url, *words)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
