"""Python's own habits, changed for as long as rows go through it by the million."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

COLLECT_AFTER = 50_000
"""Objects. Python looks for garbage after 700 new ones; a batch of computed rows has tens of thousands, and so has
a project with a thousand scripts."""

TURN = 0.0005
"""Seconds that a thread keeps the interpreter to itself while another one waits; Python's own is ten times that."""


@dataclass
class _Habits:
    """How many runs there are in this process, and what the first of them has found."""

    runs: int = 0
    threshold: tuple[int, int, int] = (0, 0, 0)
    turn: float = 0.0


_habits = _Habits()


@contextmanager
def made_for_many_rows() -> Iterator[None]:
    """Collect garbage seldom, and let the batch that is written not wait for the one that is computed.

    What is loaded by now will stay: the collector need not look through it again and again. Everything is
    as before when the last run of this process has ended.
    """
    _habits.runs += 1
    if _habits.runs == 1:
        _habits.threshold, _habits.turn = gc.get_threshold(), sys.getswitchinterval()
        # once: what has come since, when env.py was asked, may be half done, and Python breaks down over it in the
        # end when it was frozen meanwhile
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, *_habits.threshold[1:])
        sys.setswitchinterval(TURN)
    try:
        yield
    finally:
        _habits.runs -= 1
        if not _habits.runs:
            sys.setswitchinterval(_habits.turn)
            gc.set_threshold(*_habits.threshold)
            gc.unfreeze()
