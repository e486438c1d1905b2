"""Writes docs/reliability.md from the results of the long form: `python -m campaign.report` in `tests/`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from campaign.counting import RESULTS

ROOT = Path(__file__).resolve().parents[2]
WORDS = Path(__file__).with_name("reliability.md")
PAGE = ROOT / "docs" / "reliability.md"
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
MEGABYTE = 1024 * 1024


def page(results: Iterable[dict[str, Any]]) -> str:
    """The document: the words, with the tables where their names stand in braces."""
    every = list(results)
    faults = [one for one in every if "fault" in one]
    soaks = [one for one in every if "what" in one]
    tried, survived = sum(one["tried"] for one in faults), sum(one["survived"] for one in faults)
    return (
        WORDS.read_text()
        .replace("{sums}", f"{tried:,} faults tried, {survived:,} survived, {tried - survived:,} lost")
        .replace("{faults}", fault_table(faults))
        .replace("{soaks}", soak_table(soaks))
    )


def fault_table(faults: Iterable[dict[str, Any]]) -> str:
    """A row per kind of fault and database: to what it was done, and how often."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for one in faults:
        kinds[one["fault"], NAMES.get(one["database"], one["database"])].append(one)
    return table(
        ("fault", "database", "done to", "tried", "survived", "lost"),
        [
            (
                fault,
                database,
                "; ".join(sorted(one["subject"] for one in these)),
                f"{sum(one['tried'] for one in these):,}",
                f"{sum(one['survived'] for one in these):,}",
                f"{sum(one['tried'] - one['survived'] for one in these):,}",
            )
            for (fault, database), these in sorted(kinds.items())
        ],
    )


def soak_table(soaks: Iterable[dict[str, Any]]) -> str:
    """A row per long life."""
    return table(
        ("life", "database", "batches", "MB early", "MB late", "descriptors", "batch early", "batch late"),
        [
            (
                one["what"],
                NAMES[one["database"]],
                f"{one['batches']:,}",
                f"{one['memory_early'] / MEGABYTE:.0f}",
                f"{one['memory_late'] / MEGABYTE:.0f}",
                f"{one['descriptors_early']}, then {one['descriptors_late']}",
                f"{one['batch_early'] * 1000:.1f} ms",
                f"{one['batch_late'] * 1000:.1f} ms",
            )
            for one in sorted(soaks, key=lambda one: (one["what"], one["database"]))
        ],
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Write it."""
    results = (json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json")))
    PAGE.write_text(page(results))
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
