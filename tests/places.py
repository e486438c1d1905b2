"""Places at which something is done to a run: in the long form, that of `make campaign`, all of them; in the quick one
some, and others each time."""

from __future__ import annotations

import os
import random
import secrets
from itertools import count

LONG = os.environ.get("DATAMIGRATE_CAMPAIGN") == "long"
STEP = 4
"""Where the process itself goes on, the quick form tries one place in so many."""

SEED = int(os.environ.get("DATAMIGRATE_SEED") or secrets.randbelow(10**6))


def chance() -> random.Random:
    """Chances that are the same again with the same seed; the seed is printed, which pytest shows of a failure."""
    print(f"DATAMIGRATE_SEED={SEED}")
    return random.Random(SEED)


def places(step: int) -> count[int]:
    """Their numbers, without an end: from 1 on, and in the quick form one in so many, beginning with another each time."""
    return count(1) if LONG else count(chance().randint(1, step), step)
