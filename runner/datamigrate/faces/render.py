"""What the verbs found, as tables for people and as plain data for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from datamigrate.authoring.script import Library
from datamigrate.database.ledger.records import MigrationRecord, RunRecord
from datamigrate.faces.absence import absence
from datamigrate.faces.situation import Situation
from datamigrate.faces.tables import TextTable
from datamigrate.thought.interleaving import Journey, SchemaLeg
from datamigrate.thought.lifecycle import State
from datamigrate.thought.planner import TO_DO, Action, Plan, Step
from datamigrate.thought.progress import Progress
from datamigrate.words.claim import Owner
from datamigrate.words.duration import human_duration

if TYPE_CHECKING:
    from datamigrate.doing.runner import Report
    from datamigrate.faces.doctor import Diagnosis

_COLOURS = {
    "run": "green",
    "resume": "green",
    "done": "dim",
    "obsolete": "dim",
    "blocked": "yellow",
    "drifted": "yellow",
    "running": "cyan",
    "stopped": "yellow",
    "pending": "green",
    "failed": "red",
    "halted": "yellow",
    "held": "yellow",
    "paused": "yellow",
    "cancelled": "dim",
    "reverting": "cyan",
    "reverted": "yellow",
    "scheduled": "dim",
    "waiting": "yellow",
    "ok": "green",
    "note": "yellow",
    "wrong": "red",
}


def plan_table(plan: Plan, counts: Mapping[str, int] | None = None) -> Table:
    """The steps in the order of a run, with the pending rows where they were counted."""
    table = TextTable("#", "migration", "action", "reason")
    if counts is not None:
        table.add_column("pending rows", justify="right")
    for number, step in enumerate(plan.steps, 1):
        cells: list[RenderableType] = [str(number), step.migration.name, _coloured(step.action), step.reason]
        table.add_row(*cells, *([] if counts is None else [_count_text(counts.get(step.migration.name))]))
    return table


def plan_facts(situation: Situation) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "heads": list(situation.plan.heads),
        "steps": [step.facts() for step in situation.plan.steps],
        "gone": list(situation.plan.gone),
        "problems": [problem.facts() for problem in situation.problems],
    }


def doctor_table(found: Sequence[Diagnosis]) -> Table:
    """What was looked at, and what was found."""
    table = TextTable("", "about", "found")
    for diagnosis in found:
        table.add_row(_coloured(diagnosis.verdict), diagnosis.about, diagnosis.said)
    return table


def journey_table(journey: Journey) -> Table:
    """The legs of a joint upgrade, in order."""
    table = TextTable("#", "leg", "what", "why")
    for number, leg in enumerate(journey.legs, 1):
        if isinstance(leg, SchemaLeg):
            what = "\n".join(f"{r.id}  {r.title}" for r in leg.revisions)
            table.add_row(str(number), "schema", what, "")
        else:
            why = _waiting(leg.opens)
            table.add_row(str(number), "data", leg.name, why)
    for step in journey.left:
        table.add_row("-", "data", step.migration.name, f"stays {step.action}: {step.reason}")
    return table


def _waiting(revisions: Sequence[str]) -> str:
    if not revisions:
        return ""
    return f"revision{'' if len(revisions) == 1 else 's'} {', '.join(revisions)} wait{'s' if len(revisions) == 1 else ''} for it"


def journey_facts(journey: Journey) -> dict[str, Any]:
    """The legs of a joint upgrade for programs."""
    return {
        "legs": [leg.facts() for leg in journey.legs],
        "left": [step.facts() for step in journey.left],
    }


def plan_summary(plan: Plan) -> str:
    """One sentence: what a run would do."""
    to_do, blocked = len(plan.to_do), len(plan.having(Action.BLOCKED))
    halted = len(plan.having(Action.HALTED))
    shut, scheduled = len(plan.having(Action.WAITING)), len(plan.having(Action.SCHEDULED))
    numbers = {"blocked": blocked, "halted": halted, "outside their window": shut, "scheduled": scheduled}
    waiting = "".join(f"; {number} {what}" for what, number in numbers.items() if number)
    if to_do:
        return f"{to_do} to run{waiting}: `datamigrate run`."
    return f"Nothing to run{waiting}."


def status_table(statuses: Sequence[Mapping[str, Any]], counted: bool) -> Table:
    """A row per migration: state, progress, rate, time to go, reason."""
    table = TextTable("migration", "state", "rows", "rows/s", "to go", "reason")
    if counted:
        table.add_column("pending now", justify="right")
    for facts in statuses:
        cells = [
            facts["name"],
            _coloured(facts["state"]),
            _progress_text(facts),
            "" if facts["rate"] is None else f"{facts['rate']:,.0f}",
            "" if facts["eta"] is None else human_duration(facts["eta"]),
            facts["reason"],
        ]
        if counted:
            cells.append(_count_text(facts["pending"]))
        table.add_row(*cells)
    return table


def statuses(
    situation: Situation, me: Owner, counts: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """Every migration's status as plain data, for whom it concerns; with the pending rows where they were
    counted."""
    rows = [
        _status(step, situation.record(step.migration.name), situation.ledger.at, me)
        for step in situation.plan.steps
    ]
    return rows if counts is None else [row | {"pending": counts.get(row["name"])} for row in rows]


def _status(step: Step, record: MigrationRecord | None, at: datetime, me: Owner) -> dict[str, Any]:
    """Rates in rows per second, `eta` in seconds."""
    state = _state_of(step, record)
    rows = record.rows if record else 0
    estimate = record.estimate if record else None
    absent = absence(record, at, me) if record else None
    goes_on = state in (State.RUNNING, State.REVERTING) and bool(record and record.owners) and not absent
    rate = record.rate if record and goes_on else None
    tempo = Progress(rows, estimate, rate or 0.0)
    return {
        "name": step.migration.name,
        "state": state,
        "action": str(step.action),
        "rows": rows,
        "estimate": tempo.total,
        "estimate_source": record.estimate_source if record else None,
        "left_alone": record.left_alone if record else 0,
        "rate": rate,
        "eta": tempo.eta if goes_on and record and not record.waiting else None,
        "batch_size": next((r.size for r in record.ranges if r.size), None) if record else None,
        "owners": list(record.owners) if record else [],
        "absent": absent,
        "tuning": record.tuning.facts() if record else {},
        "undo": record.undo.facts() if record and record.undo else None,
        "quarantined": record.quarantined if record else 0,
        "waiting": record.waiting if record else None,
        "waiting_since": record.waiting_since.isoformat() if record and record.waiting_since else None,
        "reason": _reason(step, record, absent),
    }


def list_table(library: Library) -> Table:
    """The scripts there are."""
    table = TextTable("migration", "kind", "requires", "depends on", "file", "what it does")
    for m in library.migrations:
        table.add_row(m.name, m.kind, " ".join(m.requires), " ".join(m.depends_on), m.file.name, m.title)
    return table


def history_table(runs: Sequence[RunRecord]) -> Table:
    """The runs there were, newest first."""
    table = TextTable("run", "started", "took", "who", "version", "arguments", "outcome", "exit")
    for run in runs:
        took = human_duration((run.finished_at - run.started_at).total_seconds()) if run.finished_at else ""
        table.add_row(
            str(run.id),
            f"{run.started_at:%Y-%m-%d %H:%M:%S}Z",
            took,
            run.owner,
            run.version,
            run.arguments,
            run.outcome or "going on, or killed",
            "" if run.exit is None else str(run.exit),
        )
    return table


def report_facts(report: Report) -> dict[str, Any]:
    """What a run did, for programs."""
    return {
        "exit": int(report.exit),
        "results": [result.facts() for result in report.results],
        "stopped": report.stopped,
        "blocked": [step.facts() for step in report.plan.having(Action.BLOCKED)],
        "waiting": [step.facts() for step in report.waiting],
    }


def _state_of(step: Step, record: MigrationRecord | None) -> str:
    if step.action in (Action.DRIFTED, Action.OBSOLETE, Action.SCHEDULED):
        return str(step.action)
    if record is not None and record.state is not State.PENDING:
        return str(record.state)
    if step.action is Action.HALTED:
        return str(State.HELD)
    return str(Action.BLOCKED) if step.action is Action.BLOCKED else str(State.PENDING)


def _reason(step: Step, record: MigrationRecord | None, absent: str | None) -> str:
    tuned = f"tuned to {record.tuning}" if record and record.tuning.facts() else ""
    undo = f"undo log of {record.undo}" if record and record.undo else ""
    aside = f"{record.quarantined:,} quarantined" if record and record.quarantined else ""
    return "; ".join(filter(None, (absent, _waiting_for(record), _why(step, record), tuned, undo, aside)))


def _waiting_for(record: MigrationRecord | None) -> str:
    if record is None or not record.waiting or not record.waiting_since:
        return ""
    return f"waits since {record.waiting_since:%H:%M:%S}Z: {record.waiting}"


def _why(step: Step, record: MigrationRecord | None) -> str:
    if record and record.reason and step.action in TO_DO:
        return record.reason.partition("\n")[0]
    if step.action in (Action.DONE, Action.RESUME):
        return ""
    return step.reason


def _progress_text(facts: Mapping[str, Any]) -> str:
    rows, total = facts["rows"], facts["estimate"]
    if facts["state"] in (State.DONE, State.REVERTED) or not total:
        return f"{rows:,}" if rows else ""
    return f"{rows:,} of {total:,} ({rows / total:.0%})"


def _count_text(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _coloured(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, ""))
