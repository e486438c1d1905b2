"""The rows in quarantine tried once more, each in a transaction of its own; one that succeeds leaves it."""

from dataclasses import dataclass, replace
from functools import partial

from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.ledger.quarantine import Quarantine
from datamigrate.doing.blaming import blames_rows
from datamigrate.doing.failing import cause_of, failed_batch
from datamigrate.doing.poison import WHOLE, Poison, described
from datamigrate.doing.rows_work import RowsWork
from datamigrate.doing.settings import Settings
from datamigrate.words.claim import Claim
from datamigrate.words.errors import StillPending
from datamigrate.words.migration import Key


@dataclass(frozen=True)
class Tried:
    """How many rows were `done` now, were no longer pending since somebody has `mended` or deleted them, are `left`
    in quarantine, and were `handed_back` to those who work on the migration."""

    done: int = 0
    mended: int = 0
    left: int = 0
    handed_back: int = 0

    def __str__(self) -> str:
        if self.handed_back:
            return (
                f"{self.handed_back:,} in line again, for the run that is going on to try before it is done"
            )
        mended = f", {self.mended:,} no longer pending" if self.mended else ""
        return f"{self.done:,} done{mended}, {self.left:,} left in quarantine"


async def try_again(
    database: Database,
    quarantine: Quarantine,
    script: Script,
    work: RowsWork,
    settings: Settings,
) -> Tried:
    """Try every row in quarantine. Raises what no row is to blame for; what was done before stays."""
    async with database.looking() as connection:
        keys = await quarantine.keys(connection)
    tried = Tried()
    for key in keys:
        try:
            tried = await _try_row(database, quarantine, work, settings, key, tried)
        except Exception as error:
            cause = cause_of(error)
            if not blames_rows(database.dialect, cause) and not isinstance(cause, StillPending):
                raise failed_batch(database.dialect, script.migration, error, tried.done) from error
            async with database.writing() as connection:
                row = await described(connection, script, work, Poison(key, error), attempts=1)
                await quarantine.admit(connection, row, most=len(keys))
            tried = replace(tried, left=tried.left + 1)
    return tried


async def _try_row(
    database: Database,
    quarantine: Quarantine,
    work: RowsWork,
    settings: Settings,
    key: Key,
    tried: Tried,
) -> Tried:
    look = partial(database.looking, settings.timeouts)
    async with look() as connection:
        bounds = await work.slice_of(connection, key)
    claim = Claim(quarantine.name, 0, 0, quarantine.owner, cursor=bounds.lower, upper=key)
    portion = await work.prepare(look, claim, WHOLE)
    async with database.writing(settings.timeouts) as connection:
        if not await quarantine.holds(connection, key):  # somebody else has tried it meanwhile
            return tried
        change = await work.apply(connection, portion, thorough=True)
        if change.found > change.rows + change.left_alone:  # the application has changed it meanwhile
            return replace(tried, left=tried.left + 1)
        await quarantine.recover(connection, key, change.rows, change.left_alone)
    is_done = bool(change.rows or change.left_alone)
    return replace(tried, done=tried.done + is_done, mended=tried.mended + (not is_done))
