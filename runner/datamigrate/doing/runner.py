"""A whole run: the plan's steps one after another, and what became of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datamigrate.authoring.forms import ComputeRows, FreeForm
from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.examining import examine
from datamigrate.doing.executor import Executor, Outcome, Workplace
from datamigrate.doing.failing import failed_batch
from datamigrate.doing.free_work import FreeWork
from datamigrate.doing.guarding import refuse_slow
from datamigrate.doing.rows_work import ComputeWork, SetWork
from datamigrate.doing.settings import Settings, for_script
from datamigrate.doing.work import Work
from datamigrate.thought.pacing import first_pace
from datamigrate.thought.planner import Plan, Step
from datamigrate.words.errors import DatamigrateError
from datamigrate.words.exits import Exit


@dataclass(frozen=True)
class Result:
    """What became of one step: `done`, `stopped`, `failed` (with its error), or `skipped` and why."""

    name: str
    outcome: str
    error: DatamigrateError | None = None
    reason: str = ""

    def facts(self) -> dict[str, Any]:
        """The result as plain data, for JSON."""
        facts: dict[str, Any] = {"name": self.name, "outcome": self.outcome}
        if self.error:
            facts |= {"error": self.error.message, "hint": self.error.hint}
        return facts | ({"reason": self.reason} if self.reason else {})


@dataclass(frozen=True)
class Report:
    """What a run did, and the exit code that says so."""

    plan: Plan
    results: tuple[Result, ...]
    stopped: str | None = None

    @property
    def exit(self) -> Exit:
        """A failure outweighs a stop, a stop outweighs what is still blocked."""
        failures = [result.error for result in self.results if result.error]
        if failures:
            return failures[0].exit
        if self.stopped or any(result.outcome == "stopped" for result in self.results):
            return Exit.STOPPED
        blocked = any(step.waits_for_revisions for step in self.plan.steps)
        return Exit.BLOCKED if blocked else Exit.OK


async def run_plan(
    place: Workplace,
    plan: Plan,
    scripts: Mapping[str, Script],
    settings: Settings,
    batch_size: int | None = None,
    keep_going: bool = False,
) -> Report:
    """Work on the plan's steps in order. With `keep_going` a failure skips only what depends on it."""
    results: list[Result] = []
    for step in plan.to_do:
        if why := place.stop.why():
            return Report(plan, tuple(results), why)
        if missing := _unmet(step, results):
            results.append(Result(step.migration.name, "skipped", reason=f"{missing} is not done"))
            continue
        result = await _run_step(place, scripts[step.migration.name], settings, batch_size)
        results.append(result)
        if result.outcome == "failed" and not keep_going:
            break
    return Report(plan, tuple(results), place.stop.reason)


async def work_for(database: Database, script: Script) -> Work:
    """The script's form, bound to the table as the database has it. Raises SchemaError, KeyUnfit."""
    form, dialect = script.form, database.dialect
    if isinstance(form, FreeForm):
        return FreeWork(form)
    async with database.looking() as connection:
        examined = await examine(connection, dialect, script.name, form)
    if isinstance(form, ComputeRows):
        return ComputeWork(
            form, examined.keyset, dialect, examined.columns, examined.written_types, script.migration.file
        )
    return SetWork(form, examined.keyset, dialect, examined.columns)


async def _run_step(place: Workplace, script: Script, settings: Settings, batch_size: int | None) -> Result:
    try:
        work = await work_for(place.database, script)
        fitting = for_script(settings, script.migration.options, work.computes, batch_size)
        if not place.allow_slow:
            await refuse_slow(place.database, script.name, work, first_pace(fitting.first_rows))
        outcome = await Executor(place, script, work, fitting).run()
    except Exception as error:
        failure = failed_batch(script.migration, error, kept=0)
        return Result(script.name, "failed", failure)
    return Result(
        script.name, outcome.value, reason=place.stop.reason or "" if outcome is Outcome.STOPPED else ""
    )


def _unmet(step: Step, results: Sequence[Result]) -> str | None:
    not_done = {result.name for result in results if result.outcome != "done"}
    return next((name for name in step.migration.depends_on if name in not_done), None)
