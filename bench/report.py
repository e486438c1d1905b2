"""Figures as tables: on the terminal, and in docs/performance.md."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.jobs import JOBS
from bench.results import kept

TEMPLATE = Path(__file__).resolve().parent / "performance.md"
NOT_MEASURED = "*Not measured yet.*"


@dataclass(frozen=True)
class Sheet:
    """A table of words."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown, the first column as it is, the others to the right."""
        lines = [self.heads, ("---", *("--:" for _ in self.heads[1:])), *self.rows]
        title = f"**{self.title}**\n\n" if self.title else ""
        return title + "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def rich(self) -> Table:
        """The table for a terminal."""
        table = Table(title=self.title or None, title_justify="left")
        for number, head in enumerate(self.heads):
            table.add_column(head, justify="right" if number else "left", no_wrap=not number)
        for row in self.rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        return table


def show(console: Console, folder: Path, name: str) -> None:
    """The figures of this name, on the terminal."""
    for sheet in _SHEETS[name](folder):
        console.print(sheet.rich())


def write_report(folder: Path, docs: Path) -> list[Path]:
    """Write performance.md and the plots, from what was measured; the files written."""
    docs.mkdir(parents=True, exist_ok=True)
    parts = {name.replace("-", "_"): _markdown(make(folder)) for name, make in _SHEETS.items()}
    machines = {f"{name.replace('-', '_')}_on": _measured_on(kept(folder, name)) for name in _SHEETS}
    report = docs / "performance.md"
    report.write_text(Template(TEMPLATE.read_text("utf-8")).substitute(parts | machines), "utf-8")
    return [report, *_plots(folder, docs)]


def _plots(folder: Path, docs: Path) -> list[Path]:
    from bench.plots import plot_positions, plot_races

    return [*plot_races(folder, docs), *plot_positions(folder, docs)]


def _markdown(sheets: Iterable[Sheet]) -> str:
    return "\n\n".join(sheet.markdown() for sheet in sheets) or NOT_MEASURED


def _measured_on(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return ""
    on = facts["machine"]
    rounds = "one round" if facts["rounds"] == 1 else f"medians of {facts['rounds']} rounds"
    return (
        f"{on['database']}; {on['cores']} cores, {on['memory_gigabytes']} GB; Python {on['python']}, SQLAlchemy "
        f"{on['sqlalchemy']}, asyncpg {on['asyncpg']}, aiosqlite {on['aiosqlite']}; {rounds}; "
        f"load {on['load']} when it ended."
    )


# the sheets ---------------------------------------------------------------------------------------------


def _races(which: str, dialect: str) -> Callable[[Path], list[Sheet]]:
    def sheets(folder: Path) -> list[Sheet]:
        facts = kept(folder, f"{which}-{dialect}")
        p99 = _p99(folder) if (which, dialect) == ("races", "postgresql") else {}
        if facts is None:
            return []
        return [
            _race(
                job.title,
                [f for f in facts["figures"] if f["job"] == job.name],
                p99 if job.name == "update" else {},
            )
            for job in JOBS
            if any(f["job"] == job.name for f in facts["figures"])
        ]

    return sheets


def _race(title: str, figures: Sequence[dict[str, Any]], p99: dict[str, float]) -> Sheet:
    heads = ("", "rows", "rows/s", "of the limit", "least, most", "peak MB", "lines")
    rows = tuple(
        (
            _strong(f["name"], f["ours"]),
            f"{f['rows']:,}",
            f"{1e6 / f['microseconds_per_row']:,.0f}",
            _strong(f"{f['ratio']:.2f}", f["ours"]),
            f"{f['least']:.2f}, {f['most']:.2f}",
            f"{f['peak_megabytes']}",
            f"{f['lines']}",
            *((_milliseconds(p99.get(f["name"])),) if p99 else ()),
        )
        for f in figures
    )
    return Sheet(title, (*heads, "p99 of others") if p99 else heads, rows)


def _foreground(folder: Path) -> list[Sheet]:
    facts = kept(folder, "foreground")
    if facts is None:
        return []
    heads = (
        "meanwhile",
        "p50 ms",
        "p99 ms",
        "of p99 alone",
        "p99 reads",
        "p99 updates",
        "longest",
        "rows/s",
    )
    return [
        Sheet(
            "",
            heads,
            tuple(
                (
                    _strong(f["name"], f["name"].startswith("update_rows")),
                    f"{f['p50']:.1f}",
                    f"{f['p99']:,.1f}",
                    _strong(f"{f['ratio']:,.1f}", f["name"].startswith("update_rows")),
                    f"{f['p99_reads']:,.1f}",
                    f"{f['p99_updates']:,.1f}",
                    f"{f['longest']:,.1f}",
                    f"{f['rows_per_second']:,.0f}" if f["rows_per_second"] else "",
                )
                for f in facts["figures"]
            ),
        )
    ]


def _positions(folder: Path) -> list[Sheet]:
    facts = kept(folder, "positions")
    if facts is None:
        return []
    heads = ("key and predicate", "rows", "batches", "seconds", "one index scan", "last tenth to first")
    return [
        Sheet(
            "",
            heads,
            tuple(
                (
                    f["title"],
                    f"{f['rows']:,}",
                    f"{f['batches']:,}",
                    f"{f['seconds']:.1f}",
                    f"{f['index_scan_seconds']:.1f}",
                    "" if f["growth"] is None else f"{f['growth']:.2f}",
                )
                for f in facts["figures"]
            ),
        )
    ]


def _start(folder: Path) -> list[Sheet]:
    facts = kept(folder, "start")
    if facts is None:
        return []
    figures = facts["figures"]
    return [
        Sheet(
            "",
            ("command", "seconds", "least"),
            tuple((f["name"], f"{f['seconds']:.2f}", f"{f['least']:.2f}") for f in figures["commands"]),
        ),
        Sheet(
            "",
            ("scripts loaded", "seconds", "again", "milliseconds a script"),
            tuple(
                (
                    f"{f['scripts']:,}",
                    f"{f['first']:.2f}",
                    f"{f['again']:.2f}",
                    f"{f['again'] / f['scripts'] * 1000:.2f}",
                )
                for f in figures["loading"]
            ),
        ),
        Sheet(
            "",
            ("books kept on", "rows", "batches", "share of a batch's time"),
            tuple(
                (f["dialect"], f"{f['rows']:,}", f"{f['batches']}", f"{f['share']:.1%}")
                for f in figures["bookkeeping"]
            ),
        ),
    ]


def _memory(folder: Path) -> list[Sheet]:
    facts = kept(folder, "memory")
    if facts is None:
        return []
    return [
        Sheet(
            "",
            ("form", "dialect", "10,000 rows, MB", "large, MB", "rows", "more, MB"),
            tuple(
                (
                    f["name"],
                    f["dialect"],
                    f"{f['small']:.0f}",
                    f"{f['large']:.0f}",
                    f"{f['rows']:,}",
                    f"{f['large'] - f['small']:+.0f}",
                )
                for f in facts["figures"]
            ),
        )
    ]


def _undo(folder: Path) -> list[Sheet]:
    facts = kept(folder, "undo")
    if facts is None:
        return []
    heads = (
        "with an undo log",
        "dialect",
        "rows",
        "of the time without",
        "least, most",
        "characters an entry",
    )
    rows = (
        (
            f["name"],
            f["dialect"],
            f"{f['rows']:,}",
            f"{f['ratio']:.2f}",
            f"{f['least']:.2f}, {f['most']:.2f}",
            f"{f['bytes_an_entry']}",
        )
        for f in facts["figures"]
    )
    return [Sheet("", heads, tuple(rows))]


_SHEETS: dict[str, Callable[[Path], list[Sheet]]] = {
    "races-postgresql": _races("races", "postgresql"),
    "races-sqlite": _races("races", "sqlite"),
    "large-postgresql": _races("large", "postgresql"),
    "large-sqlite": _races("large", "sqlite"),
    "foreground": _foreground,
    "positions": _positions,
    "start": _start,
    "memory": _memory,
    "undo": _undo,
}


def _p99(folder: Path) -> dict[str, float]:
    facts = kept(folder, "foreground")
    return {} if facts is None else {f["name"]: f["p99"] for f in facts["figures"]}


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ms"


def _strong(text: str, ours: bool) -> str:
    return f"**{text}**" if ours else text
