"""A row that cannot be put back: which one it is, and what to do about what is in its way."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.doing.failing import cause_of, told
from datamigrate.doing.poison import Poison, Search
from datamigrate.doing.revert_work import RevertWork
from datamigrate.thought.lifecycle import Cause
from datamigrate.words.claim import Claim
from datamigrate.words.errors import RowFailed
from datamigrate.words.migration import Migration
from datamigrate.words.rows import human_rows


@dataclass(frozen=True, eq=False)
class Obstacles(Search):
    """Stops a revert at such a row, with all others before it put back: its keys are the numbers of entries."""

    in_line: RevertWork

    async def refuse(self, poison: Poison, kept: int) -> None:
        """Raise which row that is."""
        migration = self.script.migration
        async with self.place.database.looking() as connection:
            behind = f"\nIt stays as it is; what was put back before it is kept: {human_rows(kept)}."
            failure = await kept_from_its_place(connection, self.in_line, migration, poison, behind)
        raise failure from poison.error

    async def set_aside(self, claim: Claim, poison: Poison, attempts: int = 2) -> Claim:
        """No row is passed over that nobody has changed."""
        raise poison.error


async def kept_from_its_place(
    connection: AsyncConnection, work: RevertWork, migration: Migration, poison: Poison, behind: str = ""
) -> RowFailed:
    """The error of a row that the database does not let be as it was, and what to say `behind` that."""
    key, shape = await work.row_of(connection, poison.key)
    said = told(cause_of(poison.error), bool(migration.options.mask)).rstrip(".")
    other = "put another row in its place" if shape.deleted else "give the row other values"
    return RowFailed(
        f"{migration.name}: row {key} of {shape.table} cannot be put back: {said}.{behind}",
        f"Mend what is in its way; or {other}: what somebody has changed since is left as found. "
        f"Then `datamigrate {Cause.REVERT} {migration.name}` goes on where it stopped.",
    )
