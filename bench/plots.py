"""Figures as pictures, in colours that can be read on light and on dark pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt  # after the choice of what it draws with

from bench.jobs import JOBS
from bench.results import kept

OURS, THEIRS, LIMIT = "#1f77b4", "#9a9a9a", "#d62728"
TITLES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}

# the same figures make the same file
mpl.rcParams.update(
    {
        "svg.hashsalt": "bench",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)
SAVING: dict[str, Any] = {
    "format": "svg",
    "metadata": {"Date": None},
    "bbox_inches": "tight",
    "facecolor": "white",
}


def plot_races(folder: Path, docs: Path) -> list[Path]:
    """performance.svg: for both dialects, how many times as long as the limit each contender takes."""
    fields = {dialect: facts["figures"] for dialect in TITLES if (facts := kept(folder, f"races-{dialect}"))}
    panels = [
        (f"{TITLES[dialect]}: {job.title.partition(':')[0]}", figures)
        for job in JOBS[:2]
        for dialect, field in fields.items()
        if (figures := [f for f in field if f["job"] == job.name])
    ]
    if not panels:
        return []
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5.8 * columns, 2.6 * lines), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, figures) in zip(axes.flat, panels, strict=False):
        _bars(axis, title, figures)
    figure.suptitle(
        "Time per row as a multiple of one statement that does it all (logarithmic; less is better)"
    )
    figure.tight_layout()
    return [_saved(figure, docs / "performance.svg")]


def _bars(axis: Any, title: str, figures: Sequence[dict[str, Any]]) -> None:
    ratios = [f["ratio"] for f in figures]
    spread = [[f["ratio"] - f["least"] for f in figures], [f["most"] - f["ratio"] for f in figures]]
    colours = [OURS if f["ours"] else THEIRS for f in figures]
    places = range(len(figures))
    axis.barh(places, ratios, color=colours, xerr=spread, error_kw={"elinewidth": 0.8, "ecolor": "#444444"})
    axis.axvline(1, color=LIMIT, linewidth=1)
    axis.set_yticks(places, [f["name"] for f in figures])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_title(title, loc="left", fontsize=9)
    for place, f in zip(places, figures, strict=True):
        axis.annotate(
            f"{f['ratio']:.2f}", (f["most"], place), xytext=(4, 0), textcoords="offset points", va="center"
        )


def plot_positions(folder: Path, docs: Path) -> list[Path]:
    """performance-positions.svg: what a batch costs, from the first row to the last."""
    facts = kept(folder, "positions")
    if facts is None:
        return []
    figure, axis = plt.subplots(figsize=(8, 3.2))
    for f in facts["figures"]:
        if f["growth"] is None:
            continue
        costs = f["milliseconds"]
        axis.plot([(i + 0.5) / len(costs) * 100 for i in range(len(costs))], costs, label=f["title"])
    axis.set_xlabel("position in the table, %")
    axis.set_ylabel("milliseconds a batch")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    return [_saved(figure, docs / "performance-positions.svg")]


def _saved(figure: Any, file: Path) -> Path:
    figure.savefig(file, **SAVING)
    plt.close(figure)
    return file
