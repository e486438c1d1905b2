"""Saying "alive" while working, so that a claim does not expire under a long batch."""

from collections.abc import Awaitable, Callable

import anyio

from datamigrate.words.errors import Fenced


async def beating(beat: Callable[[], Awaitable[None]], interval: float) -> None:
    """Call `beat` every `interval` seconds.

    Raises Fenced when it does; any other error of a beat is passed over, since the work beside it will meet the
    same fault and tell of it.
    """
    while True:
        await anyio.sleep(interval)
        try:
            await beat()
        except Fenced:
            raise
        except Exception:
            continue
