"""Places at which something is done to a run: in the long form, that of `make campaign`, all of them; in the quick one
some, and others each time."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator

LONG = os.environ.get("DATAMIGRATE_CAMPAIGN") == "long"
SEED = int(os.environ.get("DATAMIGRATE_SEED") or secrets.randbelow(10**6))

STEP = 4
"""The quick form tries about one place in so many."""


def chance() -> random.Random:
    """Chances that are the same again with the same seed; the seed is printed, which pytest shows of a failure."""
    print(f"DATAMIGRATE_SEED={SEED}")
    return random.Random(SEED)


def places() -> Iterator[int]:
    """Their numbers, from 1 on, without an end."""
    longest, chances, place = 1 if LONG else 2 * STEP - 1, chance(), 0
    while True:
        place += chances.randint(1, longest)
        yield place
