"""How much more memory a large table takes than a small one."""

from collections.abc import Iterable
from typing import Any

from bench.grounds import Ground
from bench.jobs import Job, ours_for
from bench.races import Say, run_fresh

SMALL = 10_000


def peaks(ground: Ground, jobs: Iterable[Job], rows: int, say: Say) -> list[dict[str, Any]]:
    """The most memory that our form for each job holds for a small table and for one of so many rows, in megabytes."""
    found: list[dict[str, Any]] = []
    for job in jobs:
        ours = ours_for(job.name)
        small, large = (run_fresh(ours, job, ground, n).peak / 2**20 for n in (min(SMALL, rows), rows))
        say(f"memory, {ground.dialect} {ours.name}: {small:.0f} MB, {rows:,} rows {large:.0f} MB")
        found.append(
            {
                "dialect": ground.dialect,
                "name": ours.name,
                "rows": rows,
                "small": round(small, 1),
                "large": round(large, 1),
            }
        )
    return found
