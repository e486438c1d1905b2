"""What an undo log costs: our forms with one and without, in turns on the same rows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.grounds import Ground
from bench.jobs import JOBS, Contender, Job, ours_for
from bench.races import run_fresh
from bench.running import Run

KEPT = ("update", "compute", "delete")

Say = Callable[[str], None]

# what the log has written, over the rows that it has
_SIZE = "SELECT sum(length(key) + length(before) + coalesce(length(after), 0) + length(shape)) / count(*) FROM datamigrate_undo"


@dataclass(frozen=True)
class WithLog(Contender):
    """One of ours that keeps an undo log besides."""

    folder: Path = Path()

    @property
    def path(self) -> Path:
        """A copy of the script, with the option that the original does without."""
        file = self.folder / self.file
        file.write_text(
            super().path.read_text("utf-8").replace("pending=", "undo_log=True, pending=", 1), "utf-8"
        )
        return file


def costs(ground: Ground, rows: int, rounds: int, say: Say) -> list[dict[str, Any]]:
    """The ratio of the time with a log to the time without, of each round's two runs, and the size of an entry."""
    with TemporaryDirectory() as folder:
        return [_cost(job, ground, rows, rounds, Path(folder), say) for job in JOBS if job.name in KEPT]


def _cost(job: Job, ground: Ground, rows: int, rounds: int, folder: Path, say: Say) -> dict[str, Any]:
    bare = ours_for(job.name)
    kept, ratios, size = WithLog(job.name, f"{bare.name}, undo_log", bare.file, folder=folder), [], 0
    for number in range(rounds):
        times: dict[Contender, Run] = {}
        for contender in (bare, kept) if number % 2 == 0 else (kept, bare):
            times[contender] = run_fresh(contender, job, ground, rows)
            if contender is kept:
                size = int(str(ground.scalar(_SIZE)))
            say(f"{ground.dialect} {number + 1}/{rounds}: {contender.name} {times[contender].seconds:.2f} s")
        ratios.append(times[kept].per_row / times[bare].per_row)
    return {
        "name": bare.name,
        "dialect": ground.dialect,
        "rows": rows,
        "ratio": round(median(ratios), 2),
        "least": round(min(ratios), 2),
        "most": round(max(ratios), 2),
        "bytes_an_entry": size,
    }
