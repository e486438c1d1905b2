"""How many faults were tried, and what became of the runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from places import LONG

RESULTS = Path(os.environ.get("DATAMIGRATE_CAMPAIGN_RESULTS") or Path(__file__).parent / "results")


STRIDE = 16
"""A process is begun for each place that is tried: the quick form tries one in so many."""


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
