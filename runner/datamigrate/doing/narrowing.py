"""Which row of a batch is the one that fails."""

from collections.abc import Awaitable, Callable, Sequence

from datamigrate.doing.failing import cause_of
from datamigrate.words.errors import BatchFailed
from datamigrate.words.migration import Bounds, Key

Try = Callable[[Bounds], Awaitable[Exception | None]]
"""Does the rows of a slice, for good or to undo it; gives the error it met."""


async def failing_row(
    attempt: Try, lower: Key | None, keys: Sequence[Key], met: Exception | None = None
) -> tuple[Key, Exception] | None:
    """The first of these rows, in key order, that fails by itself, and its error; all before it have been
    tried with success, and none behind it.

    Halves them again and again, so that each row is tried about once more; where the error that was `met`
    names its row, those before it are tried first. None when they fail only together.
    """
    rows, error = list(keys), met
    while len(rows) > 1:
        before = _named(rows, error)
        if before == 0:
            rows = rows[:1]
            continue
        part = before or len(rows) // 2
        if found := await attempt(Bounds(lower, rows[part - 1])):
            rows, error = rows[:part], found
        else:
            lower, rows = rows[part - 1], rows[part:]
    if not rows:
        return None
    error = await attempt(Bounds(lower, rows[0]))
    return (rows[0], error) if error else None


def _named(rows: Sequence[Key], error: Exception | None) -> int | None:
    """The place among the rows of the one that the error names."""
    cause = None if error is None else cause_of(error)
    key = cause.key if isinstance(cause, BatchFailed) else None
    return rows.index(key) if key in rows else None
