"""Contenders side by side: round after round, each on a fresh table, with the limit in every round."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.grounds import Ground
from bench.jobs import Contender, Job
from bench.running import Run, check, run, why_not

Say = Callable[[str], None]
Field = Callable[[Job, str], Sequence[Contender]]
"""Who does a job on a dialect, the limit first."""


@dataclass
class Standing:
    """A contender and its runs so far, each beside the limit's time per row in the same round."""

    contender: Contender
    runs: list[Run] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Medians, and the least and the most."""
        return {
            "job": self.contender.job,
            "name": self.contender.name,
            "ours": self.contender.is_ours,
            "rows": self.runs[0].rows,
            "microseconds_per_row": round(median(r.per_row for r in self.runs) * 1e6, 3),
            "ratio": round(median(self.ratios), 3),
            "least": round(min(self.ratios), 3),
            "most": round(max(self.ratios), 3),
            "cpu_seconds": round(median(r.cpu for r in self.runs), 2),
            "peak_megabytes": round(max(r.peak for r in self.runs) / 2**20),
            "lines": self.contender.lines,
        }


def race(
    ground: Ground, jobs: Iterable[Job], field: Field, rows: int, rounds: int, say: Say
) -> list[dict[str, Any]]:
    """Every contender of every job, `rounds` times. Raises Failed for one that does not do the job."""
    return [
        facts
        for job in jobs
        for facts in race_for(job, ground, field(job, ground.dialect), rows, rounds, say)
    ]


def race_for(
    job: Job, ground: Ground, contenders: Sequence[Contender], rows: int, rounds: int, say: Say
) -> list[dict[str, Any]]:
    """The contenders of one job; each round begins with another of them, so that none is always the first."""
    standings = [Standing(contender) for contender in able(contenders, say)]
    for number in range(rounds):
        times: dict[int, Run] = {}
        for place in range(len(standings)):
            i = (place + number) % len(standings)
            contender = standings[i].contender
            times[i] = run_fresh(contender, job, ground, contender.rows(rows))
            say(
                f"{ground.dialect} {job.name} {number + 1}/{rounds}: {contender.name} {times[i].seconds:.2f} s"
            )
        for i, standing in enumerate(standings):
            standing.runs.append(times[i])
            standing.ratios.append(times[i].per_row / times[0].per_row)
    return [standing.facts() for standing in standings]


def run_fresh(contender: Contender, job: Job, ground: Ground, rows: int) -> Run:
    """Run it on a fresh table and check what it has done."""
    ground.freshen(rows)
    result = run(contender, ground, rows)
    check(contender, ground, job.wrong, rows)
    return result


def able(contenders: Sequence[Contender], say: Say) -> list[Contender]:
    """Those that can be run here; of each of the others it is said why not."""
    reasons = {contender: why_not(contender) for contender in contenders}
    for contender, reason in reasons.items():
        if reason:
            say(f"left out: {contender.job}, {contender.name}: {reason}")
    return [contender for contender in contenders if not reasons[contender]]
