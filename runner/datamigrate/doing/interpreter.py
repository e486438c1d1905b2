"""Python's own habits, changed for as long as rows go through it by the million."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

COLLECT_AFTER = 200_000
"""Objects. Python looks for garbage after 700 new ones, and a batch of computed rows has tens of thousands."""

TURN = 0.0005
"""Seconds that a thread keeps the interpreter to itself while another one waits; Python's own is ten times that."""


@contextmanager
def made_for_many_rows() -> Iterator[None]:
    """Collect garbage seldom, and let the batch that is written not wait for the one that is computed.

    What is loaded by now will stay: the collector need not look through it again and again. Everything is
    as before at the end.
    """
    threshold, turn = gc.get_threshold(), sys.getswitchinterval()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *threshold[1:])
    sys.setswitchinterval(TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        gc.set_threshold(*threshold)
        gc.unfreeze()
