"""Workers on a plan: each takes the next migration that is ready, or lends a hand with one under way."""

import time
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial

import anyio
from anyio.abc import TaskGroup

from datamigrate.authoring.script import Script
from datamigrate.database.cancelled import BY_ITSELF, is_in_cancelled_scope
from datamigrate.doing.effort import Effort, Outcome, Workplace
from datamigrate.doing.executor import Executor
from datamigrate.doing.failing import failed_batch
from datamigrate.doing.guarding import refuse_slow
from datamigrate.doing.owner import worker_of
from datamigrate.doing.persisting import Persistence
from datamigrate.doing.result import Result
from datamigrate.doing.settings import MOST_WORKERS, Settings, for_script
from datamigrate.doing.stint import Stint
from datamigrate.doing.work import Work
from datamigrate.doing.working import work_for
from datamigrate.thought.pacing import Pace
from datamigrate.thought.planner import Plan, Step
from datamigrate.thought.tuning import UNTUNED, Tuning
from datamigrate.words import events
from datamigrate.words.errors import BatchFailed, ClaimHeld, GivenUp

LOOK_ROUND = 0.05
"""Seconds between two looks for something to do."""

TRY_AGAIN = 1.0
"""Seconds before a migration that had nothing to share, or is being left, is asked again."""


@dataclass(eq=False)
class Job:
    """A migration under way; what it needs is known once it has been examined."""

    step: Step
    effort: Effort = field(default_factory=Effort)
    work: Work | None = None
    tuned: Callable[[Tuning], Settings] | None = None
    ask_again: float = 0.0


@dataclass(eq=False)
class Crew:
    """The workers of one run. `results` are told by name as the migrations end."""

    place: Workplace
    plan: Plan
    scripts: Mapping[str, Script]
    settings: Settings
    batch_size: int | None = None
    keep_going: bool = False
    results: dict[str, Result] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    hired: int = 0
    _group: TaskGroup = field(init=False)

    async def work(self) -> None:
        """Until nothing is left to do, something has failed, or a stop is asked for."""
        async with anyio.create_task_group() as self._group:
            self._hire(self.settings.workers)

    def _hire(self, wanted: int) -> None:
        """Let so many be at work; nobody is sent away, but who is not wanted on a migration leaves it."""
        if self.hired and not self.place.database.dialect.reads_while_writing:
            return
        for number in range(self.hired, min(wanted, MOST_WORKERS)):
            self._group.start_soon(self._be_worker, number)
        self.hired = max(self.hired, wanted)

    async def _be_worker(self, number: int) -> None:
        place = replace(
            self.place,
            ledger=replace(self.place.ledger, owner=worker_of(self.place.ledger.owner, number)),
        )
        while not self._is_over():
            if step := self._ready():
                await self._lead(place, step)
            elif job := self._to_join():
                await self._join(place, job)
            elif self.jobs:
                await next(iter(self.jobs.values())).effort.news(LOOK_ROUND)
            else:
                return

    # what to do next --------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        failed = any(result.outcome == "failed" for result in self.results.values())
        return self.place.stop.why() is not None or (failed and not self.keep_going)

    def _ready(self) -> Step | None:
        for step in self.plan.to_do:
            name = step.migration.name
            if name in self.results or name in self.jobs:
                continue
            if not (missing := self._unmet(step)):
                return step
            if missing not in self.jobs:
                self.results[name] = Result(name, "skipped", reason=f"{missing} is not done")
        return None

    def _unmet(self, step: Step) -> str | None:
        planned = {s.migration.name for s in self.plan.to_do}
        done = {name for name, result in self.results.items() if result.outcome == "done"}
        return next((name for name in step.migration.depends_on if name in planned - done), None)

    def _to_join(self) -> Job | None:
        now = time.monotonic()
        for job in self.jobs.values():
            if not job.tuned or not job.effort.is_divided or job.ask_again >= now:
                continue
            if job.effort.at_work < job.tuned(job.effort.tuning).workers:
                return job
        return None

    # doing it ---------------------------------------------------------------------------------------

    async def _lead(self, place: Workplace, step: Step) -> None:
        name = step.migration.name
        job = self.jobs[name] = Job(step)
        job.effort.why_shut = place.hours.until_it_shuts(step.migration.options)
        try:
            if why := job.effort.why_shut():
                # the window was open when the run began
                raise GivenUp(why)
            persistence = Persistence(
                place,
                name,
                lambda: self.settings.max_attempts,
                _nothing_is_ours_yet,
                lambda: job.effort.why_stop(place.stop),
            )
            await persistence.retried(partial(self._examine, place, job))
            outcome = await self._do(place, job, leads=True)
            why = job.effort.stopped_for if outcome is Outcome.STOPPED else ""
            self._keep(Result(name, outcome.value, reason=why, quarantined=job.effort.quarantined))
        except GivenUp as given_up:
            job.effort.stopped(name, place.publish, given_up.message)
            self._keep(Result(name, Outcome.STOPPED.value, reason=given_up.message))
        except Exception as error:
            failure = self._failure(name, error)
            if not (job.effort.failed or isinstance(error, ClaimHeld)):  # nobody has told it yet
                place.publish(events.Failed(name, failure.error.message if failure.error else ""))
            self._keep(failure)
        finally:
            del self.jobs[name]

    async def _examine(self, place: Workplace, job: Job) -> None:
        """Bind the script to its table as the database has it, and refuse what would be slow."""
        migration, undo = job.step.migration, place.ledger.tables.undo
        work = await work_for(
            place.database, self.scripts[migration.name], self.settings.workers, undo, inside=True
        )
        suited = self.settings.suited(place.database.dialect.most_rows)
        job.tuned = cache(partial(for_script, suited, migration.options, self.batch_size))
        settings = job.tuned(UNTUNED)
        if not place.allow_slow:
            # one wider than its rows, so that both statements that look for its end are judged
            pace = Pace(settings.first_rows, 2 * settings.first_rows)
            await refuse_slow(place.database, migration.name, work, pace)
        job.work = work

    async def _join(self, place: Workplace, job: Job) -> None:
        name = job.step.migration.name
        try:
            await self._do(place, job, leads=False)
        except Exception as error:
            self._keep(self._failure(name, error))
        # whatever it was, there is nothing to be had just now; and who leads needs a connection to find out
        job.ask_again = time.monotonic() + TRY_AGAIN

    async def _do(self, place: Workplace, job: Job, leads: bool) -> Outcome:
        assert job.work is not None
        assert job.tuned is not None
        script = self.scripts[job.step.migration.name]
        job.effort.at_work += 1
        try:
            stint = Stint(place, script, job.work, job.tuned, job.effort, self._hire, leads)
            return await Executor(stint).run()
        except CancelledError as error:
            if is_in_cancelled_scope():
                raise
            # without a result it would seem that there was nothing to do
            raise BatchFailed("The script's function has cancelled its own task.", BY_ITSELF) from error
        finally:
            job.effort.at_work -= 1

    def _failure(self, name: str, error: Exception) -> Result:
        dialect, migration = self.place.database.dialect, self.scripts[name].migration
        return Result(name, "failed", failed_batch(dialect, migration, error, kept=0))

    def _keep(self, result: Result) -> None:
        # a failure is the migration's result, whichever of its workers met it
        known = self.results.get(result.name)
        if known is None or known.error is None:
            self.results[result.name] = result


async def _nothing_is_ours_yet() -> None:
    """Before the first claim no commit can be in doubt."""
