"""`datamigrate run` as a person meets it: signals, progress, the report at the end."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from datamigrate.doing.rehearsal import Rehearsal
from datamigrate.doing.sampling import limits_of
from datamigrate.doing.settings import Budget
from datamigrate.doing.stopping import Stop
from datamigrate.faces.ahead import look_through, not_looked
from datamigrate.faces.app import Application
from datamigrate.faces.journey import travel
from datamigrate.faces.notices.logs import log_event
from datamigrate.faces.notices.prometheus import serving_metrics
from datamigrate.faces.output import Output
from datamigrate.faces.page import write_page
from datamigrate.faces.previewing import SCHEMA, preview_facts, way_told
from datamigrate.faces.progress import Bar, Heartbeat
from datamigrate.faces.rehearsing import NOT_UNDONE, change_table, findings, rehearsal_facts
from datamigrate.faces.render import journey_facts, plan_facts, plan_summary, plan_table, report_facts
from datamigrate.faces.run_options import RunOptions
from datamigrate.faces.signals import unless_terminated, until_signalled
from datamigrate.faces.staying import SHORTEST_POLL, Staying, lines_of, run_when_open
from datamigrate.thought.agenda import Agenda
from datamigrate.thought.planner import Action
from datamigrate.words.events import Publish, publish_to
from datamigrate.words.exits import Exit
from datamigrate.words.secrets import redacted_arguments


async def run_and_report(
    output: Output, application: Application, names: tuple[str, ...], options: dict[str, Any]
) -> Exit:
    """Run what is pending and tell what became of it."""
    stop, asked = _asked(options, names)
    work = run_when_open if options["wait_for_window"] else Application.run
    with progress_on(output, options["metrics_port"]) as publish:
        situation, report = await until_signalled(
            stop, lambda: work(application, asked, stop, publish), output.say
        )
    output.complain(situation)
    unusable = output.problems(situation.problems)
    for line in lines_of(situation):
        output.say(line)
    for result in report.results:
        if result.error:
            output.tell(result.error)
        elif result.outcome == "skipped":
            output.say(f"{result.name}: skipped, {result.reason}")
    if report.stopped and not any(result.outcome == "stopped" for result in report.results):
        output.say(f"Stopped cleanly between two migrations ({report.stopped}); run again to go on.")
    elif report.waiting:
        output.say(
            "Run again when the window is open; --wait-for-window waits, --ignore-window does not care."
        )
    elif not report.results:
        output.say("Nothing to do.")
    output.data(report_facts(report) | {"problems": [p.facts() for p in situation.problems]}, None)
    # a broken script matters here when all were asked for, or when what was asked for waits for it
    stuck = report.plan.having(Action.BLOCKED) or not names
    return report.exit or (unusable if stuck else Exit.OK)


async def stay_and_work(output: Output, application: Application, options: dict[str, Any]) -> Exit:
    """Run what is pending or due, again and again, until a signal ends it."""
    stop, asked = _asked(options)
    with progress_on(output, options["metrics_port"]) as publish:
        staying = Staying(application, asked, stop, publish, output.say, options["poll"] or SHORTEST_POLL)
        await until_signalled(stop, staying.work, output.say)
    return Exit.OK


async def upgrade_and_report(
    output: Output, application: Application, target: str, options: dict[str, Any]
) -> Exit:
    """Upgrade schema and data together and tell how far it went."""
    stop, asked = _asked(options)
    with progress_on(output, options["metrics_port"]) as publish:
        arrival = await until_signalled(
            stop, lambda: travel(application, target, asked, stop, publish), output.say
        )
    if arrival.error:
        output.tell(arrival.error)
    elif arrival.stopped:
        output.say(f"Stopped cleanly ({arrival.stopped}); `datamigrate upgrade {target}` goes on.")
    elif not arrival.survey.journey.legs:
        output.say("Nothing to do.")
    for step in arrival.survey.journey.left:
        output.say(f"{step.migration.name}: {step.action}, {step.reason}")
    output.data(journey_facts(arrival.survey.journey) | {"exit": int(arrival.exit)}, None)
    return arrival.exit


async def preview(
    output: Output, application: Application, names: tuple[str, ...], options: dict[str, Any]
) -> Exit:
    """Try what would run, and show it. Exit 1 when something would fail, or is not idempotent."""
    situation = await application.situation(names, options["tags"], Agenda(asked=frozenset(names)))
    limits = limits_of(
        application.project.configuration.settings,
        options["max_time"],
        rows=options["sample"],
        shown=options["rows"],
        batch_size=options["batch_size"],
        exact=options["count"],
    )
    ahead = not_looked(situation)
    async with unless_terminated():
        rehearsals = await application.rehearse(situation, limits)
        if options["through"]:
            ahead = await look_through(application, situation, limits)
    rehearsals += ahead.rehearsals
    masks = {s.name: s.migration.options.mask for s in situation.library.scripts}
    output.complain(situation)
    facts = {
        "pending": {r.name: r.estimate.rows for r in rehearsals if r.estimate},
        "rehearsals": [rehearsal_facts(r, masks[r.name]) for r in rehearsals],
        **preview_facts(ahead),
    }
    facts = {"schema": SCHEMA} | plan_facts(situation) | facts
    refused = [
        r.name for r in rehearsals if r.error or not r.is_steady or (r.slow and not options["allow_slow"])
    ]
    if file := options["html"]:
        write_page(file, facts, situation, rehearsals, ahead, refused)
    output.data(facts, plan_table(situation.plan))
    for rehearsal in rehearsals:
        _show(output, rehearsal, masks[rehearsal.name])
    for sentence in way_told(ahead):
        output.say(sentence)
    if rehearsals:
        output.say(NOT_UNDONE)
    if file:
        output.say(f"The page for reviewers is {file}.")
    output.say(f"Dry run, nothing was written. {plan_summary(situation.plan)}")
    return output.problems(situation.problems) or (Exit.FAILED if refused else Exit.OK)


def _show(output: Output, rehearsal: Rehearsal, mask: frozenset[str]) -> None:
    if not output.as_json:
        output.console.print(f"\n[bold]{rehearsal.name}[/]")
        table = change_table(rehearsal, mask)
        if table.row_count:
            output.console.print(table)
        for sentence in findings(rehearsal):
            output.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    if rehearsal.error:
        output.tell(rehearsal.error)


def _asked(options: dict[str, Any], names: tuple[str, ...] = ()) -> tuple[Stop, RunOptions]:
    budget = Budget(options.get("max_time"), options.get("max_batches"))
    return Stop(budget), RunOptions(
        names=names,
        tags=options.get("tags", ()),
        budget=budget,
        batch_size=options["batch_size"],
        keep_going=options.get("keep_going", False),
        wait=not options.get("no_wait", False),
        workers=options.get("workers", 1),
        nice=options.get("nice"),
        allow_slow=options["allow_slow"],
        until=options.get("until"),
        due=options.get("due", False),
        ignore_window=options["ignore_window"],
        throttle=not options["no_throttle"],
        arguments=redacted_arguments(sys.argv[1:]),
    )


def as_called() -> str:
    """The words of this call, without passwords, for the history."""
    return redacted_arguments(sys.argv[1:])


@contextmanager
def progress_on(output: Output, metrics_port: int | None = None) -> Iterator[Publish]:
    """Where events go, so that a person, a log, and whoever asks this port for metrics see them."""
    with ExitStack() as stack:
        listeners: list[Publish] = [log_event]
        if metrics_port is not None:
            listeners.append(stack.enter_context(serving_metrics(metrics_port)))
        if not (output.log_json or output.quiet):
            is_terminal = output.aside.file.isatty()
            shown = stack.enter_context(Bar(output.aside)) if is_terminal else Heartbeat(output.say)
            listeners.append(shown)
        yield publish_to(*listeners)
