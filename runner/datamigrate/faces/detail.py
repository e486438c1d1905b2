"""One migration in full, for people and for programs."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from datamigrate.database.ledger.records import OccurrenceRecord, as_facts
from datamigrate.faces.onlooker import Detail
from datamigrate.faces.quarantining import quarantine_table, row_facts
from datamigrate.faces.tables import TextTable
from datamigrate.thought.codec import decode_key, show_key

MOST_SHOWN = 10
"""Rows in quarantine, in `show`."""


def detail_facts(detail: Detail) -> dict[str, Any]:
    """One migration in full, for programs."""
    script, record = detail.script, detail.record
    ledger = as_facts(record) | {"tuning": record.tuning.facts()} if record else None
    if record and ledger:
        ledger["recurrence"] = as_facts(record.recurrence)
    return {
        "script": dict(script.migration.facts()) if script else None,
        "plan": detail.step.facts() if detail.step else None,
        "ledger": ledger,
        "occurrences": [as_facts(o) for o in detail.occurrences],
        "ranges": [as_facts(r) | {"tally": vars(r.tally)} for r in record.ranges] if record else [],
        "transitions": [as_facts(t) for t in detail.transitions],
        "undo": detail.undo.facts() if detail.undo else None,
        "changed_since": list(detail.changed_since),
        "quarantine": [row_facts(row) for row in detail.quarantine],
    }


def show_detail(console: Console, detail: Detail) -> None:
    """One migration in full, for people."""
    fields = Table.grid(padding=(0, 2))
    for label, value in _detail_fields(detail):
        fields.add_row(label, Text(value))
    console.print(fields)
    if detail.record and detail.record.ranges:
        ranges = TextTable("range", "rows", "batches", "cursor", "upper", "sweep", "batch size", "owner")
        for r in detail.record.ranges:
            ranges.add_row(
                str(r.number),
                f"{r.tally.rows:,}",
                f"{r.tally.batches:,}",
                _key_text(r.cursor),
                _key_text(r.upper),
                str(r.sweep),
                f"{r.size:,}",
                r.owner or "",
            )
        console.print(ranges)
    if detail.quarantine:
        console.print(quarantine_table(detail.quarantine[:MOST_SHOWN]))
        if len(detail.quarantine) > MOST_SHOWN:
            console.print(f"... and {len(detail.quarantine) - MOST_SHOWN:,} rows in quarantine more")
    if detail.occurrences:
        console.print(_occurrences_table(detail.occurrences))
    if detail.transitions:
        moves = TextTable("when", "from", "to", "cause", "who", "reason")
        for t in detail.transitions:
            moves.add_row(f"{t.at:%Y-%m-%d %H:%M:%S}Z", t.before, t.after, t.cause, t.owner, t.reason or "")
        console.print(moves)


def _occurrences_table(occurrences: Sequence[OccurrenceRecord]) -> Table:
    table = TextTable("due", "begun", "finished", "rows", "outcome")
    for o in occurrences:
        times = (
            f"{time:%Y-%m-%d %H:%M:%S}Z" if time else "" for time in (o.due_at, o.begun_at, o.finished_at)
        )
        table.add_row(*times, "" if o.rows is None else f"{o.rows:,}", o.outcome or "open")
    return table


def _detail_fields(detail: Detail) -> list[tuple[str, str]]:
    script, record, step = detail.script, detail.record, detail.step
    fields: list[tuple[str, str]] = []
    if script:
        m = script.migration
        fields += [("name", m.name), ("what it does", m.title), ("kind", m.kind), ("file", str(m.file))]
        fields += [("requires", " ".join(m.requires) or "-"), ("depends on", " ".join(m.depends_on) or "-")]
        fields += [("window", m.options.window)] if m.options.window else []
        fields += [("schedule", m.options.schedule)] if m.options.schedule else []
    if step:
        fields += [("plan", f"{step.action}: {step.reason}")]
    if record:
        fields += [("state", str(record.state)), ("rows", f"{record.rows:,}")]
        fields += [("reason", record.reason)] if record.reason else []
        fields += [("tuned to", str(record.tuning))] if record.tuning.facts() else []
        fields += [("waits for", record.waiting)] if record.waiting else []
    fields += [("undo log", str(detail.undo))] if detail.undo else []
    fields += [("changed since", ", ".join(detail.changed_since))] if detail.changed_since else []
    return fields


def _key_text(encoded: str | None) -> str:
    return "" if encoded is None else show_key(decode_key(encoded))
