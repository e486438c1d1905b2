"""`datamigrate revert` as a person meets it: what would be put back, what was, and what was changed since."""

from typing import Any

from rich.table import Table

from datamigrate.doing.rehearsal import Rehearsal
from datamigrate.doing.reverting import RowBack, Trial
from datamigrate.doing.sampling import RehearsalLimits
from datamigrate.doing.stopping import Stop
from datamigrate.faces.app import Application
from datamigrate.faces.output import Output
from datamigrate.faces.rehearsing import HIDDEN, change_table, findings, rehearsal_facts, row_text, shown
from datamigrate.faces.running import progress_on
from datamigrate.faces.signals import unless_terminated, until_signalled
from datamigrate.faces.undoing import RevertOptions, WayBack, try_undo, undo
from datamigrate.thought.codec import show_key
from datamigrate.words.exits import Exit
from datamigrate.words.rows import human_rows


async def revert_and_report(
    output: Output, application: Application, name: str, options: RevertOptions
) -> Exit:
    """Undo it and tell what became of it."""
    stop = Stop(options.budget)
    with progress_on(output) as publish:
        reverted = await until_signalled(
            stop, lambda: undo(application, name, options, stop, publish), output.say
        )
    undone = reverted.undone
    _tell_missing(output, reverted.way)
    if undone.result.error:
        output.tell(undone.result.error)
    if undone.changed:
        more = ", ..." if len(reverted.keys) < undone.changed else ""
        output.say(
            f"{human_rows(undone.changed)} changed by somebody since, left as found: keys "
            f"{', '.join(reverted.keys)}{more}"
        )
    facts = undone.result.facts() | {"rows": undone.rows, "changed_since": undone.changed}
    output.data(facts | {"keys": list(reverted.keys), "exit": int(reverted.exit)}, None)
    return reverted.exit


async def preview_revert(
    output: Output, application: Application, name: str, limits: RehearsalLimits
) -> Exit:
    """Try it on the latest rows, and show them. Exit 1 when something would fail."""
    async with unless_terminated():
        way, tried = await try_undo(application, name, limits)
    mask = application.project.library().mask_of(name)
    _tell_missing(output, way)
    if isinstance(tried, Rehearsal):
        output.data(rehearsal_facts(tried, mask), change_table(tried, mask))
        for sentence in findings(tried):
            output.say(sentence)
        if tried.error:
            output.tell(tried.error)
    else:
        output.data(_facts(name, tried, mask), _table(tried, mask))
        output.say(
            f"{tried.pending:,} entries in the undo log. Tried on {tried.undone + tried.changed:,} of them: "
            f"{human_rows(tried.undone)} would be as before, {human_rows(tried.changed)} changed by somebody since."
        )
    output.say(f"Dry run, nothing was written: `datamigrate revert {name}`.")
    return Exit.FAILED if isinstance(tried, Rehearsal) and tried.error else Exit.OK


def _tell_missing(output: Output, way: WayBack) -> None:
    if way.missing:
        output.say(f"{human_rows(way.missing)} changed by it and not in the undo log, left as found.")


def _table(trial: Trial, mask: frozenset[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("key", "column", "now", "reverted"):
        table.add_column(column, overflow="fold")
    for row in trial.rows:
        for line in _lines(row, mask):
            table.add_row(show_key(row.key), *line)
    return table


def _lines(row: RowBack, mask: frozenset[str]) -> list[tuple[str, str, str]]:
    if row.before is None:
        return [("(row)", "", row_text(row.after, mask) if row.after else "stays gone")]
    if row.before == row.after or row.after is None:
        return [("", "stays as it is", "")]
    after = row.after
    return [(n, shown(n, v, mask), shown(n, after[n], mask)) for n, v in row.before.items() if v != after[n]]


def _facts(name: str, trial: Trial, mask: frozenset[str]) -> dict[str, Any]:
    return {
        "name": name,
        "pending": trial.pending,
        "undone": trial.undone,
        "changed_since": trial.changed,
        "rows": [
            {"key": show_key(row.key), "before": _hidden(row.before, mask), "after": _hidden(row.after, mask)}
            for row in trial.rows
        ],
    }


def _hidden(row: dict[str, Any] | None, mask: frozenset[str]) -> dict[str, Any] | None:
    return row and {name: HIDDEN if name in mask else value for name, value in row.items()}
