"""Verbs that look and never write: list, show, history, plan, status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from datamigrate.faces.cli.frame import GetOnlooker, cli, look
from datamigrate.words.exits import Exit

if TYPE_CHECKING:
    from datamigrate.faces.onlooker import Onlooker
    from datamigrate.faces.output import Output


@cli.command("list")
@look
def list_(output: Output, get: GetOnlooker) -> Exit:
    """List the scripts."""
    from datamigrate.faces.render import list_table

    library = get().project.library()
    facts = {
        "migrations": [m.facts() for m in library.migrations],
        "problems": [p.facts() for p in library.problems],
    }
    output.data(facts, list_table(library))
    return output.problems(library.problems)


@cli.command()
@click.argument("name")
@look
def show(output: Output, get: GetOnlooker, name: str) -> None:
    """Show one migration: script, ranges, how it came to its state."""
    import anyio

    from datamigrate.faces.detail import detail_facts, show_detail

    detail = anyio.run(get().detail, name)
    output.data(detail_facts(detail), None)
    if not output.as_json:
        show_detail(output.console, detail)


@cli.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@look
def history(output: Output, get: GetOnlooker, limit: int) -> None:
    """List past runs, newest first."""
    import anyio

    from datamigrate.database.ledger.records import as_facts
    from datamigrate.faces.render import history_table

    runs = anyio.run(get().runs, limit)
    output.data({"runs": [as_facts(run) for run in runs]}, history_table(runs))


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--tag", "tags", multiple=True)
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit 3 when something is pending, 4 when blocked, 6 with quarantined rows.",
)
@click.option("--upgrade", "to_heads", is_flag=True, help="What `datamigrate upgrade` would do instead.")
@click.option("--to", "target", metavar="REV", help="The same, as far as this revision.")
@look
def plan(
    output: Output,
    get: GetOnlooker,
    names: tuple[str, ...],
    tags: tuple[str, ...],
    exit_code: bool,
    to_heads: bool,
    target: str | None,
) -> Exit:
    """Say what `run` would do, in order, and why not. Writes nothing."""
    import anyio

    from datamigrate.faces.render import plan_facts, plan_summary, plan_table
    from datamigrate.thought.agenda import Agenda

    if to_heads or target:
        return _plan_journey(output, get(), target or "heads", exit_code)
    situation = anyio.run(get().situation, names, tags, Agenda(asked=frozenset(names)))
    output.complain(situation)
    output.data(plan_facts(situation), plan_table(situation.plan))
    output.say(plan_summary(situation.plan))
    return output.problems(situation.problems) or (_standing(situation.plan) if exit_code else Exit.OK)


@cli.command()
@click.argument("name", required=False)
@click.option(
    "--check", is_flag=True, help="Exit 3 when something is pending, 4 when blocked, 6 with quarantined rows."
)
@click.option("--count", is_flag=True, help="Count the pending rows exactly, now.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds.")
@look
def status(output: Output, get: GetOnlooker, name: str | None, check: bool, count: bool, watch: bool) -> Exit:
    """Show a row per migration: state, progress, rate, time to go. Writes nothing."""
    import anyio

    from datamigrate.faces.render import status_table, statuses

    application = get()

    async def look() -> Exit:
        while True:
            situation = await application.situation((name,) if name else ())
            counts = await application.count_pending(situation) if count else None
            rows = statuses(situation, application.owner, counts)
            if watch and not output.as_json:
                output.console.clear()
            output.complain(situation)
            output.data(
                {"heads": list(situation.plan.heads), "migrations": rows}, status_table(rows, counted=count)
            )
            if not watch:
                problem = output.problems(situation.problems)
                return problem or (_standing(situation.plan) if check else Exit.OK)
            await anyio.sleep(2)

    return anyio.run(look)


def _plan_journey(output: Output, onlooker: Onlooker, target: str, exit_code: bool) -> Exit:
    import anyio

    from datamigrate.faces.journey import survey
    from datamigrate.faces.render import journey_facts, journey_table

    way = anyio.run(survey, onlooker, target)
    output.data(journey_facts(way.journey), journey_table(way.journey))
    output.say(
        f"{len(way.journey.legs)} legs: `datamigrate upgrade {target}`."
        if way.journey.legs
        else "Nothing to do."
    )
    return output.problems(way.problems) or (Exit.PENDING if exit_code and way.journey.legs else Exit.OK)


def _standing(plan: Any) -> Exit:
    from datamigrate.thought.planner import Action

    unfinished = (Action.DRIFTED, Action.HALTED, Action.WAITING)
    if plan.to_do or any(plan.having(action) for action in unfinished):
        return Exit.PENDING
    if plan.having(Action.BLOCKED):
        return Exit.BLOCKED
    return Exit.QUARANTINED if any(step.quarantined for step in plan.steps) else Exit.OK
