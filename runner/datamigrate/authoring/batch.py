"""What an `each_batch` function is given."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import ColumnElement, CursorResult, Executable

from datamigrate.words.migration import Key


class Execute(Protocol):
    """Runs one statement in the batch's transaction."""

    def __call__(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        /,
    ) -> Awaitable[CursorResult[Any]]: ...


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch, inside its transaction.

    `rows` is the WHERE clause that selects exactly this batch's rows: its key range and the pending
    predicate. `lower` (exclusive, None at the beginning) and `upper` (inclusive) are the range's keys.
    `number` counts the batches of the migration from 1. The runner commits.
    """

    rows: ColumnElement[bool]
    lower: Key | None
    upper: Key
    number: int
    _execute: Execute = field(repr=False)
    _is_open: Callable[[], bool] = field(repr=False, default=lambda: True)

    async def execute(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        /,
    ) -> CursorResult[Any]:
        """Run a statement in the batch's transaction; a list of mappings runs it once for each.

        Raises RuntimeError once the batch is over.
        """
        if not self._is_open():
            raise RuntimeError("This batch is over; do all of its work before the function returns.")
        return await self._execute(statement, parameters)
