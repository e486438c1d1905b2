"""Runs that wait for their time: one that waits until a window opens, and a worker, which stays for good."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import anyio
from sqlalchemy.exc import DBAPIError

from datamigrate.doing.hours import going_on_from
from datamigrate.doing.result import Result
from datamigrate.doing.runner import Report
from datamigrate.doing.stopping import Stop
from datamigrate.faces.app import Application
from datamigrate.faces.run_options import RunOptions
from datamigrate.faces.scheduling import next_moment
from datamigrate.faces.situation import Situation
from datamigrate.thought.planner import Action
from datamigrate.words import events
from datamigrate.words.duration import human_duration
from datamigrate.words.errors import DatamigrateError, LedgerTooNew, UsageError
from datamigrate.words.exits import Exit

SHORTEST_POLL = 0.1
"""Seconds between two looks for something to do, at least."""

LOOK_UP = 0.5
"""Seconds of a wait after which a stop is noticed."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before another try when the database is away: twice as long each time, up to the longest."""

ATTEMPTS = 30
"""Tries of a batch that meets passing faults, at least: for some minutes without a database."""

FIRST_SPARING, LONGEST_SPARING = 60.0, 3600.0
"""Seconds for which a migration that could not be begun is left alone, in the same way."""

_HOPELESS = (UsageError, LedgerTooNew)
"""What no waiting mends; where there is no SQLite file yet, waiting does."""


def lines_of(situation: Situation) -> list[str]:
    """A line for each migration that is not run, though it is not done."""
    actions = (Action.BLOCKED, Action.HALTED, Action.DRIFTED, Action.WAITING, Action.SCHEDULED)
    steps = (step for action in actions for step in situation.plan.having(action))
    return [f"{step.migration.name}: {step.action}, {step.reason}" for step in steps]


async def rest(stop: Stop, seconds: float) -> None:
    """Sleep so long; a stop ends it."""
    waking = anyio.current_time() + seconds
    while stop.why() is None:
        if (left := waking - anyio.current_time()) <= 0:
            return
        await anyio.sleep(min(left, LOOK_UP))


async def run_when_open(
    application: Application, options: RunOptions, stop: Stop, publish: events.Publish
) -> tuple[Situation, Report]:
    """Run, and wait for windows to open as long as there is something that waits for one.

    Nothing is claimed meanwhile. Gives the last situation, and all that was done.
    """
    results: dict[str, Result] = {}
    while True:
        situation, report = await application.run(options, stop, publish)
        results |= {result.name: result for result in report.results}
        whole = replace(report, results=tuple(results.values()), stopped=stop.reason or report.stopped)
        if report.exit is not Exit.STOPPED or stop.why():
            return situation, whole
        ahead = await application.situation(options.names, options.tags, options.agenda)
        if not (ahead.plan.having(Action.WAITING) or ahead.plan.to_do):
            return situation, whole
        for step in ahead.plan.having(Action.WAITING):
            publish(events.HeldBack(step.migration.name, step.reason))
        clock = application.clock or going_on_from(ahead.agenda.now)
        opens = next_moment(ahead)
        while opens and not ahead.plan.to_do and stop.why() is None and (now := clock()) < opens:
            await rest(stop, min(LOOK_UP, (opens - now).total_seconds()))
        if why := stop.why():
            return ahead, replace(whole, plan=ahead.plan, stopped=why)


@dataclass(frozen=True)
class Sparing:
    """A migration that failed before it was begun: how it was then, until when it is left alone, and how many
    seconds that is."""

    state: tuple[str, datetime | None]
    until: float
    seconds: float


@dataclass(eq=False)
class Staying:
    """A worker: `datamigrate run` again and again, when something is pending or due, every `poll` seconds.

    What fails stays so until an operator says `retry`, its script is edited, or it is due again. A database
    that is away is asked again and again. What is told is told once, not with every look.
    """

    application: Application
    options: RunOptions
    stop: Stop
    publish: events.Publish
    say: Callable[[str], None]
    poll: float = 10.0
    told: frozenset[str] = frozenset()
    sparings: dict[str, Sparing] = field(default_factory=dict)

    async def work(self) -> None:
        """Until a stop is asked for. Raises what no waiting mends."""
        self.options = replace(self.options, keep_going=True, retries_failed=False, least_attempts=ATTEMPTS)
        self.application.keeps_whereabouts = True
        self.say("Worker: starts.")
        pause = FIRST_PAUSE
        while self.stop.why() is None:
            try:
                await rest(self.stop, await self._look())
                pause = FIRST_PAUSE
            except _HOPELESS:
                raise
            except (DatamigrateError, DBAPIError, OSError) as error:
                self._tell_absence(error, pause)
                await rest(self.stop, pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        self.say(f"Worker: ends ({self.stop.reason}).")

    async def _look(self) -> float:
        """Run what there is to do; the seconds until the next look."""
        options = replace(self.options, spared=self._spared())
        situation, report = await self.application.run(options, self.stop, self.publish)
        failures = [result for result in report.results if result.error]
        self._tell([*(p.message for p in situation.problems), *lines_of(situation)])
        for result in failures:
            self.say(f"{result.name}: failed. {result.error}")
        if failures:
            await self._spare([result.name for result in failures])
        if report.results:
            # the end of one thing may be the beginning of another
            return 0.0
        waits = next_moment(situation)
        left = (waits - situation.agenda.now).total_seconds() if waits else self.poll
        return min(self.poll, max(left, SHORTEST_POLL))

    def _spared(self) -> dict[str, tuple[str, datetime | None]]:
        now = anyio.current_time()
        return {name: sparing.state for name, sparing in self.sparings.items() if now < sparing.until}

    async def _spare(self, names: list[str]) -> None:
        situation = await self.application.situation()
        for name in names:
            script, record = situation.library.named(name), situation.record(name)
            if script is None:
                continue
            before = self.sparings.get(name)
            seconds = min(2 * before.seconds, LONGEST_SPARING) if before else FIRST_SPARING
            state = (script.migration.checksum, record.moved_at if record else None)
            self.sparings[name] = Sparing(state, anyio.current_time() + seconds, seconds)

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            if line not in self.told:
                self.say(line)
        self.told = frozenset(lines)

    def _tell_absence(self, error: Exception, pause: float) -> None:
        if isinstance(error, DatamigrateError):
            what = error.message
        else:
            what = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        self.say(f"Worker: {what} Tries again in {human_duration(pause)}.")
