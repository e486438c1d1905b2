"""What an application on the same table feels while its rows are changed."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median, quantiles
from typing import Any

import sqlalchemy as sa

from bench import ROOT
from bench.foreground import Operation
from bench.grounds import PostgreSQLGround
from bench.jobs import JOBS, MEANWHILE, Contender
from bench.races import Say, able
from bench.running import check, run

ALONE = "nothing else"
WARM_UP = 1.0  # seconds that are not counted

[UPDATE] = [job for job in JOBS if job.name == "update"]


def feel(
    ground: PostgreSQLGround, rows: int, rounds: int, seconds: float, names: Sequence[str], say: Say
) -> list[dict[str, Any]]:
    """The latencies of the application alone for so many seconds, and with each contender (of those named)
    as long as it takes, in alternating rounds. Raises Failed."""
    present = able([contender for contender in MEANWHILE if not names or contender.name in names], say)
    felt: dict[str, list[dict[str, float]]] = {name: [] for name in (ALONE, *(c.name for c in present))}
    for number in range(rounds):
        felt[ALONE].append(_alone(ground, rows, seconds))
        for contender in present:
            felt[contender.name].append(_with(contender, ground, rows))
            p99 = felt[contender.name][-1]["p99"]
            say(f"foreground {number + 1}/{rounds}: {contender.name}, p99 {p99:.1f} ms")
    return [{"name": name} | _medians(of, felt[ALONE]) for name, of in felt.items()]


def _alone(ground: PostgreSQLGround, rows: int, seconds: float) -> dict[str, float]:
    ground.freshen(rows)
    with _application(ground, rows) as operations:
        began = time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
    return _latencies(operations(), began, ended) | {"rows_per_second": 0.0}


def _with(contender: Contender, ground: PostgreSQLGround, rows: int) -> dict[str, float]:
    rows = contender.rows(rows)
    ground.freshen(rows)
    with _application(ground, rows) as operations:
        result = run(contender, ground, rows)
    check(contender, ground, UPDATE.wrong, rows)
    felt = _latencies(operations(), result.began, result.began + result.seconds)
    return felt | {"rows_per_second": 1 / result.per_row}


@contextmanager
def _application(ground: PostgreSQLGround, rows: int) -> Iterator[Callable[[], list[Operation]]]:
    """The application at work; once the block has ended, the function tells what it has met."""
    url = sa.make_url(ground.url).set(drivername="postgresql").render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.foreground", url, str(rows)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    told = ""
    try:
        time.sleep(WARM_UP)
        yield lambda: [tuple(operation) for operation in json.loads(told)]
    finally:
        told, _ = process.communicate()


def _latencies(operations: Sequence[Operation], began: float, ended: float) -> dict[str, float]:
    """Milliseconds, of what was due in between."""
    during = [operation for operation in operations if began <= operation[0] <= ended]
    reads = [taken for _, taken, wrote in during if not wrote]
    updates = [taken for _, taken, wrote in during if wrote]
    return {
        "operations": len(during),
        "p50": _percentile(reads + updates, 50),
        "p99": _percentile(reads + updates, 99),
        "p99_reads": _percentile(reads, 99),
        "p99_updates": _percentile(updates, 99),
        "longest": _percentile(reads + updates, 100),
    }


def _percentile(seconds: list[float], percent: int) -> float:
    if len(seconds) < 2:
        return round(sum(seconds) * 1000, 2)
    if percent == 100:
        return round(max(seconds) * 1000, 2)
    return round(quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000, 2)


def _medians(rounds: list[dict[str, float]], alone: list[dict[str, float]]) -> dict[str, float]:
    facts = {name: round(median(r[name] for r in rounds), 2) for name in rounds[0]}
    ratios = [
        mine["p99"] / theirs["p99"] for mine, theirs in zip(rounds, alone, strict=True) if theirs["p99"]
    ]
    return facts | {"ratio": round(median(ratios), 2) if ratios else 0.0}
