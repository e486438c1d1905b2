"""What a dry run has shown, for people and for programs."""

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from datamigrate.doing.rehearsal import Rehearsal
from datamigrate.doing.sampling import RowChange, Sample
from datamigrate.faces.tables import TextTable, printable
from datamigrate.thought.costs import Forecast
from datamigrate.thought.plans import Slow, remedy
from datamigrate.words.duration import human_duration
from datamigrate.words.rows import human_rows

LONGEST = 40
HIDDEN = "(masked)"

NOT_UNDONE = (
    "A rollback does not undo what is outside the transaction: numbers taken from sequences, notifications, "
    "calls to other services. Samples are evidence, not proof."
)


def change_table(rehearsal: Rehearsal, mask: frozenset[str]) -> Table:
    """The sampled rows: a line for each column that changed."""
    table = TextTable("where", "key", "column", "before", "after")
    for sample in rehearsal.samples:
        for change in sample.changes:
            for line in _lines(change, mask):
                table.add_row(sample.place, change.key, *line)
    for failure in rehearsal.failures:
        table.add_row(failure.place, failure.key or "", "(row)", "would fail", printable(failure.said))
    return table


def findings(rehearsal: Rehearsal) -> list[str]:
    """What is to be said of a dry run besides its rows, a sentence each."""
    said: list[str] = []
    if rehearsal.estimate is not None:
        said.append(f"{human_rows(rehearsal.estimate.rows)} pending ({rehearsal.estimate.source}).")
    if rehearsal.only_read:
        said.append(
            f"This role may not write ({rehearsal.refusal}): nothing could be tried; new values were selected "
            "where possible."
        )
    if rehearsal.cut_off:
        seen = "what is shown was tried before" if rehearsal.samples else "nothing was tried to its end"
        said.append(f"Cut off by the time limit; {seen}. `--max-time 1m` gives each migration more.")
    said += [
        *rehearsal.notes,
        *(line for slow in rehearsal.slow for line in (f"SLOW: it {slow}.", *remedy(slow))),
    ]
    if rehearsal.ahead is not None and not rehearsal.only_read:
        said += _cost(rehearsal, rehearsal.ahead)
    if rehearsal.sockets:
        said.append(
            f"OUTSIDE: the script opened connections to {', '.join(rehearsal.sockets)}. "
            "What it did there is done: no rollback undoes it."
        )
    tried = sum(sample.rows for sample in rehearsal.samples)
    if rehearsal.as_a_whole and rehearsal.samples:
        said.append(_steadiness_as_a_whole(rehearsal, tried))
    elif tried and not rehearsal.only_read:
        said.append(_steadiness(rehearsal, tried))
    return said


def rehearsal_facts(rehearsal: Rehearsal, mask: frozenset[str]) -> dict[str, Any]:
    """A dry run of one migration as plain data; seconds, rows and bytes. Masked columns are hidden."""
    estimate = rehearsal.estimate
    return {
        "name": rehearsal.name,
        "pending": None if estimate is None else {"rows": estimate.rows, "source": estimate.source},
        "samples": [_sample_facts(sample, mask) for sample in rehearsal.samples],
        "idempotent": rehearsal.is_steady if rehearsal.is_tried_twice else None,
        "rows_per_second": None if rehearsal.ahead is None else rehearsal.ahead.rows_per_second,
        "cost": None if rehearsal.ahead is None else _cost_facts(rehearsal, rehearsal.ahead),
        "failures": [{"where": f.place, "key": f.key, "error": f.said} for f in rehearsal.failures],
        "sockets": list(rehearsal.sockets),
        "only_read": rehearsal.only_read,
        "refusal": rehearsal.refusal or None,
        "notes": list(rehearsal.notes),
        "slow": [_slow_facts(slow) for slow in rehearsal.slow],
        "cut_off": rehearsal.cut_off,
        "error": None if rehearsal.error is None else rehearsal.error.facts(),
    }


def _lines(change: RowChange, mask: frozenset[str]) -> list[tuple[str, str, str]]:
    if change.after is None:
        return [("(row)", row_text(change.before, mask), "deleted")]
    if not change.before:
        return [("", "unchanged", "")]
    after = change.after
    return [(n, shown(n, value, mask), shown(n, after[n], mask)) for n, value in change.before.items()]


def row_text(row: Mapping[str, Any], mask: frozenset[str]) -> str:
    """A whole row for a person."""
    return ", ".join(f"{name}={shown(name, value, mask)}" for name, value in row.items())


def shown(name: str, value: Any, mask: frozenset[str]) -> str:
    """A column's value for a person, shortened, or hidden."""
    if name in mask:
        return HIDDEN
    text = "NULL" if value is None else printable(str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _cost(rehearsal: Rehearsal, ahead: Forecast) -> list[str]:
    seconds = ahead.seconds
    said = [
        f"Measured: {ahead.rows_per_second:,.0f} rows/s, {ahead.seconds_per_batch * 1000:,.1f} ms a sample. "
        f"To come: {_times(ahead.batches, 'batch', 'batches')} of up to {ahead.batch_rows:,} rows, about "
        f"{human_duration(seconds.expected)} (between {human_duration(seconds.low)} and "
        f"{human_duration(seconds.high)}: {_band(rehearsal)})."
    ]
    if rehearsal.written_per_row is not None:
        said.append(f"About {rehearsal.written_per_row:,.0f} bytes of write-ahead log per row.")
    if rehearsal.bloat is not None:
        said.append(_bloat(rehearsal, rehearsal.bloat))
    if rehearsal.locks:
        held = ", ".join(f"{lock.mode} on {lock.table or 'the whole database'}" for lock in rehearsal.locks)
        said.append(f"A batch holds until its end: {held}.")
    return said


def _band(rehearsal: Rehearsal) -> str:
    if len(rehearsal.samples) == 1:
        return "one sample tells no more than a half to the double"
    return "from the quickest sample in larger batches to the slowest in batches like the samples"


def _bloat(rehearsal: Rehearsal, size: int) -> str:
    said = f"It leaves about {size:,} bytes of dead rows, which vacuum makes room of"
    if rehearsal.heap_only is None:
        return f"{said}."
    return f"{said}; {rehearsal.heap_only:.0%} of the updates touched no index (heap-only)."


def _times(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _cost_facts(rehearsal: Rehearsal, ahead: Forecast) -> dict[str, Any]:
    """Seconds, rows and bytes; the first two as measured on the samples, the rest foreseen from them."""
    seconds = ahead.seconds
    return {
        "seconds_per_batch": ahead.seconds_per_batch,
        "rows_per_second": ahead.rows_per_second,
        "batches_to_come": ahead.batches,
        "batch_rows": ahead.batch_rows,
        "total_seconds": {"low": seconds.low, "expected": seconds.expected, "high": seconds.high},
        "wal_bytes_per_row": rehearsal.written_per_row,
        "bloat_bytes": rehearsal.bloat,
        "heap_only_share": rehearsal.heap_only,
        "locks": [{"table": lock.table, "mode": lock.mode} for lock in rehearsal.locks],
    }


def _slow_facts(slow: Slow) -> dict[str, Any]:
    known = bool(slow.columns)
    return {
        "table": slow.label,
        "rows": slow.rows,
        "per_row": slow.per_row,
        "sorts": slow.sorts,
        "sql": slow.sql if known else None,
        "revision": slow.revision if known else None,
    }


def _steadiness(rehearsal: Rehearsal, tried: int) -> str:
    again = sum(sample.again for sample in rehearsal.samples)
    if not again:
        return f"Tried twice on {tried:,} rows: the second pass found nothing to do."
    columns = sorted({name for sample in rehearsal.samples for name in sample.unsteady})
    differs = (
        f"; {', '.join(columns)} differ between the passes"
        if columns
        else ", to the same values: `pending` still selects rows that it has done"
    )
    return f"NOT idempotent: a second pass over {human_rows(tried)} changed {again:,} of them again{differs}."


def _steadiness_as_a_whole(rehearsal: Rehearsal, tried: int) -> str:
    again, rows = sum(sample.again for sample in rehearsal.samples), _times(tried, "row", "rows")
    if not rehearsal.is_tried_twice:
        said = f"Tried once: the call wrote {rows} and left others to the next, so that it was not repeated."
    elif again:
        said = f"NOT idempotent: the first pass wrote {rows}, the second {again:,}."
    else:
        said = f"Tried as a whole, twice: the first pass wrote {rows}, the second none."
    return f"{said} A free form does not say which rows those are, so that none are shown."


def _sample_facts(sample: Sample, mask: frozenset[str]) -> dict[str, Any]:
    return {
        "where": sample.place,
        "rows": sample.rows,
        "left_alone": sample.left_alone,
        "changed_by_second_pass": sample.again,
        "columns_that_differ": list(sample.unsteady),
        "seconds": sample.seconds,
        "written_bytes": sample.written_bytes,
        "changes": [
            {
                "key": change.key,
                "before": _hidden(change.before, mask),
                "after": None if change.after is None else _hidden(change.after, mask),
            }
            for change in sample.changes
        ],
    }


def _hidden(row: Mapping[str, Any], mask: frozenset[str]) -> dict[str, Any]:
    return {name: HIDDEN if name in mask else _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    # JSON has no word for infinity, or for what is no number
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
