"""The pace that an operator sets for one migration, whoever runs it and wherever."""

import json
from dataclasses import dataclass, fields, replace
from typing import Any

from datamigrate.words.duration import human_duration


@dataclass(frozen=True)
class Tuning:
    """What outranks the command line, the script and the configuration; None leaves it to these.

    `batch_size` is in rows, `target_time` and `max_pause` are in seconds, `nice` is the share of time to
    rest, and `workers` is a number for each run that works on it.
    """

    batch_size: int | None = None
    target_time: float | None = None
    max_pause: float | None = None
    workers: int | None = None
    nice: float | None = None

    def facts(self) -> dict[str, Any]:
        """What is set, as plain data."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def __str__(self) -> str:
        durations = ("target_time", "max_pause")
        return ", ".join(
            f"{name.replace('_', ' ')} {human_duration(value) if name in durations else value}"
            for name, value in self.facts().items()
        )


UNTUNED = Tuning()
"""No operator has said anything."""


def retuned(tuning: Tuning, other: Tuning) -> Tuning:
    """The tuning after another word of an operator: a batch size and a target time replace each other."""
    if other.batch_size:
        tuning = replace(tuning, target_time=None)
    if other.target_time:
        tuning = replace(tuning, batch_size=None)
    return replace(tuning, **other.facts())


def tuning_kept(tuning: Tuning) -> str | None:
    """The tuning as the ledger keeps it; None when nothing is set."""
    return json.dumps(facts) if (facts := tuning.facts()) else None


def tuning_from(text: str | None) -> Tuning:
    """The tuning that was kept; what a newer program has set besides is passed over."""
    known = {f.name for f in fields(Tuning)}
    return Tuning(**{name: value for name, value in json.loads(text or "{}").items() if name in known})
