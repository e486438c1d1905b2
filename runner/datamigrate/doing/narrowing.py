"""Which row of a batch is the one that fails."""

from collections.abc import Awaitable, Callable, Sequence

from datamigrate.words.migration import Bounds, Key

Try = Callable[[Bounds], Awaitable[Exception | None]]
"""Does the rows of a slice and undoes it; gives the error it met."""


async def failing_row(attempt: Try, lower: Key | None, keys: Sequence[Key]) -> tuple[Key, Exception] | None:
    """The first of these rows, in key order, that fails by itself, and its error.

    Halves them again and again, so that each row is tried about once more. None when they fail only together.
    """
    rows = list(keys)
    while len(rows) > 1:
        half = len(rows) // 2
        if await attempt(Bounds(lower, rows[half - 1])):
            rows = rows[:half]
        else:
            lower, rows = rows[half - 1], rows[half:]
    if not rows:
        return None
    error = await attempt(Bounds(lower, rows[0]))
    return (rows[0], error) if error else None
