"""How many faults were tried, and what became of the runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from places import LONG, chance

RESULTS = Path(os.environ.get("DATAMIGRATE_CAMPAIGN_RESULTS") or Path(__file__).parent / "results")


STRIDE = 1 if LONG else 16
"""The long form tries every place, the quick one every so many, beginning with another each time."""


def first_place() -> int:
    """Where to begin, counted from 1."""
    return 1 if LONG else chance().randint(1, STRIDE)


@dataclass
class Count:
    """Faults of one kind that were done to runs, and how many of these were whole in the end."""

    fault: str
    subject: str
    database: str
    tried: int = 0
    survived: int = 0

    def keep(self) -> None:
        """Write it to the results, where the long form is run."""
        print(f"{self.fault}, {self.subject}, {self.database}: {self.survived} of {self.tried} survived")
        if LONG:
            RESULTS.mkdir(parents=True, exist_ok=True)
            name = "-".join((self.fault, self.subject, self.database)).replace(" ", "_").replace("/", "_")
            (RESULTS / f"{name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")


Counter = Callable[[str, str, str], Count]
"""Begins to count faults: of what kind, done to what, on which database."""
