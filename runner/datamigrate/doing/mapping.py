"""A bare function, called for all rows of a batch at once."""

from asyncio import CancelledError
from collections.abc import Sequence
from contextvars import copy_context
from itertools import takewhile
from threading import Event
from typing import Any

from anyio import lowlevel

from datamigrate.authoring.bare import Bare
from datamigrate.database.cancelled import is_asked_for
from datamigrate.doing.aside import aside

BREATH = 200
"""Rows between two moments in which heartbeats and signals are served, if a function itself never waits."""

SOME = 20
"""Rows between two moments in which a thread is told that nobody waits for it any more."""


class Amiss(Exception):
    """It has raised something for one of the rows. What was read of them may be no longer what it was: a mapping, say, that
    the function has changed."""


async def mapped(bare: Bare, columns: Sequence[Sequence[Any]], on_the_loop: bool) -> list[Any]:
    """Its answers, in the order of the rows. Raises Amiss.

    It is called where the function would be that it is made from: one that is a coroutine is not called by two threads at once.
    """
    rows, given_up = len(columns[0]), Event()

    def some(first: int, most: int) -> list[Any]:
        return list(map(bare, *(column[first : first + most] for column in columns)))

    def in_turn() -> list[Any]:
        turns = takewhile(lambda _: not given_up.is_set(), range(0, rows, SOME))
        return [answer for first in turns for answer in some(first, SOME)]

    answers: list[Any] = []
    try:
        if on_the_loop:
            context = copy_context()
            for first in range(0, rows, BREATH):
                await lowlevel.checkpoint()
                answers += context.run(some, first, BREATH)
        else:
            # in a thread, so that heartbeats and signals are served
            answers = await aside(in_turn)
    except (Exception, SystemExit, CancelledError) as error:
        if isinstance(error, CancelledError) and is_asked_for():
            raise
        raise Amiss from error
    finally:
        given_up.set()
    if len(answers) != rows:  # one that raises StopIteration ends a map without a word
        raise Amiss
    return answers
