"""Calling a compute function in another process, so that several cores compute."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_process

from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.loading import load_script
from datamigrate.authoring.row import rows_from
from datamigrate.doing.failing import Raised, raised_by
from datamigrate.words.errors import BatchFailed


@dataclass(frozen=True)
class Answers:
    """The results of the rows in order, up to the one for which the function has `raised`."""

    results: list[Any]
    raised: Raised | None = None


@dataclass(frozen=True)
class Elsewhere:
    """As many processes as the limiter allows, for the script in this file with this checksum."""

    file: Path
    checksum: str
    limiter: CapacityLimiter


async def ask_elsewhere(there: Elsewhere, values: list[tuple[Any, ...]]) -> Answers:
    """What the script's function makes of rows with these values.

    A process is kept for the next batch, and killed when this is cancelled. Raises BatchFailed when the file
    was edited meanwhile.
    """
    file, checksum = str(there.file), there.checksum
    return await to_process.run_sync(
        _answers, file, checksum, values, cancellable=True, limiter=there.limiter
    )


def _answers(file: str, checksum: str, values: list[tuple[Any, ...]]) -> Answers:
    form = _form(file, checksum)
    rows, results = rows_from(form, values), []
    try:
        if form.takes_batch:
            return Answers(form.function(rows))
        for row in rows:
            result = form.function(row)
            # a copy, since a function may fill one and the same for each row; the length tells the row that failed
            results.append(result.copy() if isinstance(result, dict) else result)
    except (Exception, SystemExit) as error:
        return Answers(results, raised_by(error, Path(file)))
    return Answers(results)


@cache
def _form(file: str, checksum: str) -> ComputeRows:
    script = load_script(Path(file))
    if script.migration.checksum != checksum or not isinstance(script.form, ComputeRows):
        raise BatchFailed(f"{file} was edited while it was running.", "Run it again.")
    return script.form
