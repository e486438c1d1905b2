"""The command line: measure, then `report` what is written down."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console

from bench import ROOT, meanwhile, positions, races, remembering, starting, undoing
from bench.grounds import Ground, postgresql_ground, sqlite_ground
from bench.jobs import JOBS, Job, field_of, large_field_of
from bench.report import show, write_report
from bench.results import HOME, keep
from bench.running import Failed
from databases import PostgresUnavailable

DIALECTS = ("postgresql", "sqlite")
WIDE = 160  # columns, where there is no terminal
TIMES_MORE = 5  # growth shows on a table that is so much larger than the one of the races

out, err = Console(width=None if sys.stdout.isatty() else WIDE), Console(stderr=True)


def say(line: str) -> None:
    """A line of progress."""
    err.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def ground_on(dialect: str) -> Iterator[Ground]:
    """A database of this dialect."""
    if dialect == "postgresql":
        with postgresql_ground() as ground:
            yield ground
    else:
        with TemporaryDirectory(prefix="bench") as folder, sqlite_ground(Path(folder)) as ground:
            yield ground


rows_option = click.option(
    "--rows", type=click.IntRange(100), default=2_000_000, show_default=True, help="Rows of a table."
)
rounds_option = click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Of each, in turn."
)
to_option = click.option("--to", type=click.Path(path_type=Path), default=HOME, help="Where the figures go.")
dialects_option = click.option(
    "--dialect",
    "dialects",
    type=click.Choice(DIALECTS),
    multiple=True,
    default=DIALECTS,
    help="Only this one.",
)
jobs_option = click.option(
    "--job", "jobs", type=click.Choice([job.name for job in JOBS]), multiple=True, help="Only this one."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def bench() -> None:
    """Measure datamigrate beside the limit, and beside what people would otherwise do."""


@bench.command("races")
@rows_option
@rounds_option
@to_option
@dialects_option
@jobs_option
def _races(rows: int, rounds: int, to: Path, dialects: tuple[str, ...], jobs: tuple[str, ...]) -> None:
    """Every way to do each job, side by side."""
    _race("races", field_of, rows, rounds, to, dialects, jobs)


@bench.command("large")
@rows_option
@rounds_option
@to_option
@dialects_option
@jobs_option
def _large(rows: int, rounds: int, to: Path, dialects: tuple[str, ...], jobs: tuple[str, ...]) -> None:
    """The quick ways on a table that is larger."""
    _race("large", large_field_of, rows, rounds, to, dialects, jobs)


@bench.command("foreground")
@rows_option
@rounds_option
@to_option
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=20.0, help="How long the application runs alone."
)
@click.option("--contender", "names", multiple=True, help="Only this one.")
def _foreground(rows: int, rounds: int, to: Path, seconds: float, names: tuple[str, ...]) -> None:
    """What an application on the same table feels meanwhile."""
    with postgresql_ground() as ground:
        figures = meanwhile.feel(ground, rows, rounds, seconds, names, say)
        _keep(to, "foreground", ground.version(), rounds, figures)


@bench.command("positions")
@rows_option
@to_option
def _positions(rows: int, to: Path) -> None:
    """What a batch costs at the beginning of a table and at its end."""
    with postgresql_ground() as ground:
        _keep(to, "positions", ground.version(), 1, positions.walk(ground, rows, say))


@bench.command("start")
@rows_option
@rounds_option
@to_option
@click.option("--scripts", type=click.IntRange(1), default=1_000, help="Scripts of a large project.")
def _start(rows: int, rounds: int, to: Path, scripts: int) -> None:
    """Start-up, loading scripts, and the books that are kept for each batch."""
    figures: dict[str, Any] = {
        "commands": starting.commands(scripts, rounds, say),
        "loading": starting.loading((scripts // 10, scripts, scripts * 2), say),
        "bookkeeping": [],
    }
    versions = []
    for dialect in DIALECTS:
        with ground_on(dialect) as ground:
            figures["bookkeeping"].append(starting.bookkeeping(ground, rows, rounds, say))
            versions.append(ground.version())
    _keep(to, "start", ", ".join(versions), rounds, figures)


@bench.command("memory")
@rows_option
@to_option
@dialects_option
@jobs_option
def _memory(rows: int, to: Path, dialects: tuple[str, ...], jobs: tuple[str, ...]) -> None:
    """The most memory held for a small table and for a large one."""
    figures, versions = [], []
    for dialect in dialects:
        with ground_on(dialect) as ground:
            figures += remembering.peaks(ground, _named(jobs), rows, say)
            versions.append(ground.version())
    _keep(to, "memory", ", ".join(versions), 1, figures)


@bench.command("undo")
@rows_option
@rounds_option
@to_option
@dialects_option
def _undo(rows: int, rounds: int, to: Path, dialects: tuple[str, ...]) -> None:
    """What an undo log costs."""
    figures, versions = [], []
    for dialect in dialects:
        with ground_on(dialect) as ground:
            figures += undoing.costs(ground, rows, rounds, say)
            versions.append(ground.version())
    _keep(to, "undo", ", ".join(versions), rounds, figures)


@bench.command("all")
@rows_option
@rounds_option
@to_option
@click.pass_context
def _all(context: click.Context, rows: int, rounds: int, to: Path) -> None:
    """Everything; the quick ways, growth with position, and memory, on tables that are five times as large."""
    context.invoke(_races, rows=rows, rounds=rounds, to=to)
    context.invoke(_large, rows=rows * TIMES_MORE, rounds=rounds, to=to)
    context.invoke(_foreground, rows=rows, rounds=rounds, to=to)
    context.invoke(_start, rows=rows, rounds=rounds, to=to)
    context.invoke(_undo, rows=rows, rounds=rounds, to=to)
    context.invoke(_positions, rows=rows * TIMES_MORE, to=to)
    context.invoke(_memory, rows=rows * TIMES_MORE, to=to)


@bench.command("report")
@click.option(
    "--from", "source", type=click.Path(path_type=Path), default=HOME, help="Where the figures are."
)
@click.option("--docs", type=click.Path(path_type=Path), default=ROOT / "docs", help="Where the report goes.")
def _report(source: Path, docs: Path) -> None:
    """Write performance.md and its plots from the figures."""
    for file in write_report(source, docs):
        say(f"wrote {file}")


def _race(
    name: str,
    field: races.Field,
    rows: int,
    rounds: int,
    to: Path,
    dialects: tuple[str, ...],
    jobs: tuple[str, ...],
) -> None:
    for dialect in dialects:
        with ground_on(dialect) as ground:
            figures = races.race(ground, _named(jobs), field, rows, rounds, say)
            _keep(to, f"{name}-{dialect}", ground.version(), rounds, figures)


def _named(names: tuple[str, ...]) -> list[Job]:
    return [job for job in JOBS if not names or job.name in names]


def _keep(to: Path, name: str, database: str, rounds: int, figures: Any) -> None:
    say(f"wrote {keep(to, name, database, rounds, figures)}")
    show(out, to, name)


if __name__ == "__main__":
    try:
        bench(prog_name="python -m bench")
    except (Failed, PostgresUnavailable) as error:
        sys.exit(f"Error: {error}")
