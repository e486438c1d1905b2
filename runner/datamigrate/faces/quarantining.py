"""What an operator does about rows in quarantine: look at them, try them again, forget them."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from datamigrate.database.ledger.quarantine import Quarantine
from datamigrate.doing.rows_work import RowsWork
from datamigrate.doing.second_try import Tried, try_again
from datamigrate.doing.settings import for_script
from datamigrate.doing.working import work_for
from datamigrate.faces.app import Application
from datamigrate.thought.codec import show_key
from datamigrate.words.errors import UsageError
from datamigrate.words.quarantine import SetAside
from datamigrate.words.rows import human_rows

COLUMNS = ("key", "error", "attempts", "first_at", "last_at", "owner", "row")


async def rows_in_quarantine(application: Application, name: str) -> tuple[SetAside, ...]:
    """The rows that a migration has set aside. Raises UnknownMigration."""
    await application.situation((name,))
    async with application.looking() as (database, _), database.looking() as connection:
        return await _quarantine(application, name).rows(connection)


async def retry_quarantined(application: Application, name: str, reason: str | None) -> Tried:
    """Try just those rows: now, or by those who work on the migration. Raises UnknownMigration."""
    situation = await application.situation((name,))
    script = situation.script(name)
    quarantine, settings = _quarantine(application, name), application.project.configuration.settings
    async with application.recording(situation) as database:
        async with database.writing() as connection:
            if await application.ledger.at_work(connection, name, *application.hearsay):
                handed_back = await quarantine.hand_back(connection)
                tried = Tried(handed_back=handed_back)
                await quarantine.remark(connection, "retry quarantined", _because(tried, reason))
                return tried
        work = await work_for(database, script, undo=application.ledger.tables.undo)
        if not isinstance(work, RowsWork):
            return Tried()
        settings = for_script(settings, script.migration.options, None)
        tried = await try_again(database, quarantine, script, work, settings)
        async with database.writing() as connection:
            await quarantine.remark(connection, "retry quarantined", _because(tried, reason))
    return tried


async def drop_quarantined(
    application: Application, name: str, keys: Sequence[str], reason: str | None
) -> int:
    """Forget the rows with these keys, as they are listed, or all; how many those were. Raises
    UnknownMigration, UsageError for a key that is not there."""
    situation = await application.situation((name,))
    quarantine = _quarantine(application, name)
    async with application.recording(situation) as database, database.writing() as connection:
        there = {show_key(key): key for key in await quarantine.keys(connection)}
        for key in keys:
            if key not in there:
                raise UsageError(
                    f"{name} has no row {key} in quarantine.", f"See `datamigrate quarantine list {name}`."
                )
        dropped = [there[key] for key in keys] or list(there.values())
        if dropped:
            await quarantine.hand_back(connection, dropped)
            which = ", ".join(keys) if keys else "all"
            told = _because(f"{human_rows(len(dropped))} ({which})", reason)
            await quarantine.remark(connection, "drop quarantined", told)
    return len(dropped)


def row_facts(row: SetAside) -> dict[str, Any]:
    """A row in quarantine as plain data; its key as a list, and what it held where that was kept."""
    return {
        "key": [value if isinstance(value, int | str) else str(value) for value in row.key],
        "error": row.error,
        "attempts": row.attempts,
        "first_at": row.first_at.isoformat() if row.first_at else None,
        "last_at": row.last_at.isoformat() if row.last_at else None,
        "owner": row.owner,
        "row": json.loads(row.held) if row.held else None,
    }


def quarantine_table(rows: Sequence[SetAside]) -> Table:
    """The rows in quarantine, for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("key", "error", "attempts", "first", "last"):
        table.add_column(column, overflow="fold")
    for row in rows:
        error = row.error if row.held is None else f"{row.error}\n{row.held}"
        times = (f"{at:%Y-%m-%d %H:%M:%S}Z" if at else "" for at in (row.first_at, row.last_at))
        table.add_row(show_key(row.key), error, str(row.attempts), *times)
    return table


def as_lines(rows: Sequence[SetAside]) -> str:
    """A JSON object a line."""
    return "".join(json.dumps(row_facts(row)) + "\n" for row in rows)


def as_csv(rows: Sequence[SetAside]) -> str:
    """A line of column names, then one for each row; the key as it is listed, what it held as JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row_facts(row) | {"key": show_key(row.key), "row": row.held or ""})
    return text.getvalue()


def _because(done: object, reason: str | None) -> str:
    return f"{done}" + (f": {reason}" if reason else "")


def _quarantine(application: Application, name: str) -> Quarantine:
    return application.ledger.quarantine(name)
