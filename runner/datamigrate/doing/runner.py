"""A whole run: the plan's steps one after another, and what became of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from datamigrate.authoring.script import Script
from datamigrate.doing.crew import Crew
from datamigrate.doing.effort import Workplace
from datamigrate.doing.elsewhere import sent_home
from datamigrate.doing.interpreter import made_for_many_rows
from datamigrate.doing.result import Result
from datamigrate.doing.settings import Settings
from datamigrate.thought.planner import Action, Plan, Step
from datamigrate.words import events
from datamigrate.words.exits import Exit


@dataclass(frozen=True)
class Report:
    """What a run did, and the exit code that says so."""

    plan: Plan
    results: tuple[Result, ...]
    stopped: str | None = None

    @property
    def waiting(self) -> tuple[Step, ...]:
        """What was left for later, since its window is shut."""
        return self.plan.having(Action.WAITING)

    @property
    def exit(self) -> Exit:
        """A failure outweighs a stop, a stop what is still blocked, and that the rows that were set aside."""
        failures = [result.error for result in self.results if result.error]
        if failures:
            return failures[0].exit
        if self.stopped or self.waiting or any(result.outcome == "stopped" for result in self.results):
            return Exit.STOPPED
        if any(step.waits_for_revisions for step in self.plan.steps):
            return Exit.BLOCKED
        return Exit.QUARANTINED if any(result.quarantined for result in self.results) else Exit.OK


async def run_plan(
    place: Workplace,
    plan: Plan,
    scripts: Mapping[str, Script],
    settings: Settings,
    batch_size: int | None = None,
    keep_going: bool = False,
) -> Report:
    """Work on the plan's steps, each after what it depends on, one after another or with several workers at
    once. With `keep_going` a failure skips only what depends on it."""
    if settings.workers > 1 and not place.database.dialect.reads_while_writing:
        place.publish(events.Alone("", settings.workers, "SQLite has one writer at a time"))
        settings = replace(settings, workers=1)
    crew = Crew(place, plan, scripts, settings, batch_size, keep_going)
    with made_for_many_rows(), sent_home():
        await crew.work()
    in_order = (crew.results.get(step.migration.name) for step in plan.to_do)
    results = tuple(result for result in in_order if result)
    halted = next((result.reason for result in results if result.outcome == "stopped"), None)
    return Report(plan, results, place.stop.reason or halted)
