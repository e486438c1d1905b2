"""What a dry run has shown, for people and for programs."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from datamigrate.doing.rehearsal import Rehearsal, RowChange, Sample
from datamigrate.thought.plans import Slow
from datamigrate.words.duration import human_duration

LONGEST = 40
HIDDEN = "(masked)"

NOT_UNDONE = (
    "A rollback does not undo what is outside the transaction: numbers taken from sequences, notifications, "
    "calls to other services. Samples are evidence, not proof."
)


def change_table(rehearsal: Rehearsal, mask: frozenset[str]) -> Table:
    """The sampled rows: a line for each column that changed."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("where", "key", "column", "before", "after"):
        table.add_column(column, overflow="fold")
    for sample in rehearsal.samples:
        for change in sample.changes:
            for line in _lines(change, mask):
                table.add_row(sample.place, change.key, *line)
    return table


def findings(rehearsal: Rehearsal) -> list[str]:
    """What is to be said of a dry run besides its rows, a sentence each."""
    said: list[str] = []
    if rehearsal.estimate is not None:
        said.append(f"{rehearsal.estimate.rows:,} rows pending ({rehearsal.estimate.source}).")
    if rehearsal.only_read:
        said.append(
            "This role may only read: nothing could be tried; new values were selected where possible."
        )
    if rehearsal.cut_off:
        said.append("Cut off by the time limit; what is shown was tried before.")
    said += [*rehearsal.notes, *(line for slow in rehearsal.slow for line in _slow(slow))]
    said += _cost(rehearsal)
    tried = sum(sample.rows for sample in rehearsal.samples)
    if tried and not rehearsal.only_read:
        said.append(_steadiness(rehearsal, tried))
    return said


def rehearsal_facts(rehearsal: Rehearsal, mask: frozenset[str]) -> dict[str, Any]:
    """A dry run of one migration as plain data; seconds, rows and bytes. Masked columns are hidden."""
    estimate = rehearsal.estimate
    return {
        "name": rehearsal.name,
        "pending": None if estimate is None else {"rows": estimate.rows, "source": estimate.source},
        "samples": [_sample_facts(sample, mask) for sample in rehearsal.samples],
        "idempotent": None if rehearsal.only_read or not rehearsal.samples else rehearsal.is_steady,
        "rows_per_second": rehearsal.rate,
        "only_read": rehearsal.only_read,
        "notes": list(rehearsal.notes),
        "slow": [
            {"table": s.table, "rows": s.rows, "per_row": s.per_row, "sql": s.sql if s.columns else None}
            for s in rehearsal.slow
        ],
        "cut_off": rehearsal.cut_off,
        "error": None if rehearsal.error is None else rehearsal.error.facts(),
    }


def _lines(change: RowChange, mask: frozenset[str]) -> list[tuple[str, str, str]]:
    if change.after is None:
        return [("(row)", _row_text(change.before, mask), "deleted")]
    if not change.before:
        return [("", "unchanged", "")]
    after = change.after
    return [(n, _shown(n, value, mask), _shown(n, after[n], mask)) for n, value in change.before.items()]


def _row_text(row: Mapping[str, Any], mask: frozenset[str]) -> str:
    return ", ".join(f"{name}={_shown(name, value, mask)}" for name, value in row.items())


def _shown(name: str, value: Any, mask: frozenset[str]) -> str:
    if name in mask:
        return HIDDEN
    text = "NULL" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _slow(slow: Slow) -> list[str]:
    said = [f"SLOW: it {slow}."]
    if slow.columns:
        said += ["An index would help:", f"  {slow.sql};", f"  {slow.revision}"]
    return said


def _cost(rehearsal: Rehearsal) -> list[str]:
    rate, estimate = rehearsal.rate, rehearsal.estimate
    if rate is None or estimate is None:
        return []
    # small samples carry the costs of beginning and end; a long run is at best several times quicker
    longest = human_duration(estimate.rows / rate)
    said = [
        f"At the pace of the samples, {rate:,.0f} rows/s, all would take up to {longest}; larger batches are quicker."
    ]
    written = [(s.written_bytes, s.rows) for s in rehearsal.samples if s.written_bytes is not None and s.rows]
    if written:
        per_row = sum(b for b, _ in written) / sum(r for _, r in written)
        said.append(f"About {per_row:,.0f} bytes of write-ahead log per row.")
    return said


def _steadiness(rehearsal: Rehearsal, tried: int) -> str:
    again = sum(sample.again for sample in rehearsal.samples)
    if not again:
        return f"Tried twice on {tried:,} rows: the second pass found nothing to do."
    columns = sorted({name for sample in rehearsal.samples for name in sample.unsteady})
    differs = f"; {', '.join(columns)} differ between the passes" if columns else ""
    return f"NOT idempotent: a second pass over {tried:,} rows changed {again:,} of them again{differs}."


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
    return {name: HIDDEN if name in mask else value for name, value in row.items()}
