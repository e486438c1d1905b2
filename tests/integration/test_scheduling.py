"""Windows and schedules in a whole run, by a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from databases import ScratchDatabase
from datamigrate.database.ledger.store import Ledger
from datamigrate.doing.runner import Report
from datamigrate.doing.settings import Budget
from datamigrate.doing.stopping import Stop
from datamigrate.faces.app import Application
from datamigrate.faces.project import Call, find_project
from datamigrate.faces.run_options import RunOptions
from datamigrate.faces.staying import Staying, run_when_open
from datamigrate.faces.undoing import RevertOptions, undo
from datamigrate.thought.agenda import Agenda
from datamigrate.thought.lifecycle import Cause, State
from datamigrate.thought.planner import Action
from datamigrate.words.errors import DatabaseUnavailable
from datamigrate.words.events import BatchDone, Event, Finished, HeldBack, Stopped
from datamigrate.words.exits import Exit
from projects import Project, add_people, named_people, project_in
from unit.test_window import there
from workbench import ANN, BOB, migration, opened

pytestmark = pytest.mark.anyio

NIGHTLY = 'schedule="0 2 * * *", window="00:00-24:00 Europe/Berlin"'
NIGHT = 'window="22:00-06:00 Europe/Berlin"'
NOON = there("2026-11-26 12:00")
UPDATE = """
migrate = update_rows(
    people, pending=people.c.full_name.is_(None), batch_size=10, {options},
    values={{people.c.full_name: people.c.first + " " + people.c.last}},
)
"""
FAILING = """
@each_batch(people, pending=people.c.nick.is_(None))
async def migrate(batch):
    raise ValueError("no nick today")
"""


class Clock:
    """A clock that stands still until the test sets it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Office:
    """A project on a database, and what was heard of its runs."""

    def __init__(self, project: Project, database: ScratchDatabase) -> None:
        self.project, self.database, self.clock = project, database, Clock(NOON)
        self.app = Application(find_project(Call(project.root)), self.clock)
        self.heard: list[Event] = []
        self.listen: Callable[[Event], None] = lambda _: None

    def publish(self, event: Event) -> None:
        self.heard.append(event)
        self.listen(event)

    async def run(self, at: str | None = None, **options: Any) -> Report:
        self.clock.now = there(at) if at else self.clock.now
        _, report = await self.app.run(RunOptions(**options), Stop(), self.publish)
        return report

    async def occurrences(self, name: str = "nightly") -> list[tuple[datetime, str | None, int | None]]:
        found = (await self.app.detail(name)).occurrences
        return [(o.due_at, o.outcome, o.rows) for o in reversed(found)]

    def state(self, name: str) -> str:
        if not sa.inspect(self.database.engine).has_table("datamigrate_migration"):
            return "unknown"
        states = self.database.rows("SELECT state FROM datamigrate_migration WHERE name = :name", name=name)
        return str(states[0][0]) if states else "unknown"


@pytest.fixture
def office(tmp_path: Path, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.setenv("DATABASE_URL", database.sync_url)
    project = project_in(tmp_path / "project", database)
    project.upgrade()
    add_people(database, 30)
    return Office(project, database)


# schedules


async def test_each_due_time_is_an_occurrence_of_its_own_and_missed_ones_are_caught_up_once(
    office: Office,
) -> None:
    office.project.write_script("nightly", UPDATE.format(options=NIGHTLY))
    assert (await office.run()).results == ()
    assert named_people(office.database) == 0
    report = await office.run("2026-11-27 02:00:01")
    assert [result.outcome for result in report.results] == ["done"]
    add_people(office.database, 5, start=31)
    assert (await office.run("2026-11-27 12:00")).results == ()
    assert named_people(office.database) == 30
    await office.run("2026-12-01 09:00")
    assert (await office.run("2026-12-01 10:00")).results == ()
    assert await office.occurrences() == [
        (there("2026-11-27 02:00"), "verified", 30),
        (there("2026-12-01 02:00"), "verified", 5),
    ]


async def test_an_occurrence_that_was_stopped_goes_on_before_the_next_one(office: Office) -> None:
    office.project.write_script("nightly", UPDATE.format(options=NIGHTLY))
    await office.run()
    office.clock.now = there("2026-11-27 02:00")
    stop = Stop()
    office.listen = lambda event: stop.request("SIGTERM") if isinstance(event, BatchDone) else None
    _, report = await office.app.run(RunOptions(due=True), stop, office.publish)
    assert report.exit is Exit.STOPPED
    office.listen = lambda _: None
    await office.run("2026-11-28 02:00", due=True)
    await office.run(due=True)
    assert await office.occurrences() == [
        (there("2026-11-27 02:00"), "verified", 30),
        (there("2026-11-28 02:00"), "verified", 0),
    ]


async def test_by_name_it_runs_at_once_and_is_due_all_the_same(office: Office) -> None:
    office.project.write_script("nightly", UPDATE.format(options=NIGHTLY))
    await office.run(names=("nightly",))
    await office.run("2026-11-27 03:00")
    assert await office.occurrences() == [(NOON, "verified", 30), (there("2026-11-27 02:00"), "verified", 0)]


async def test_one_that_is_paused_between_two_occurrences_is_caught_up_after_resume(office: Office) -> None:
    office.project.write_script("nightly", UPDATE.format(options=NIGHTLY))
    await office.run(names=("nightly",))
    assert await office.app.command("nightly", Cause.PAUSE, "the table is being moved") is State.PAUSED
    report = await office.run("2026-11-27 03:00")
    assert [(s.action, report.results) for s in report.plan.steps] == [(Action.HALTED, ())]
    await office.app.command("nightly", Cause.RESUME, None)
    await office.run("2026-11-27 04:00")
    assert [due for due, _, _ in await office.occurrences()] == [NOON, there("2026-11-27 02:00")]


async def test_a_revert_undoes_every_occurrence_and_none_begins_until_retry(office: Office) -> None:
    office.project.write_script("nightly", UPDATE.format(options=NIGHTLY + ", undo_log=True"))
    await office.run(names=("nightly",))
    office.database.execute("UPDATE people SET full_name = NULL WHERE id = 1")
    office.database.execute("UPDATE people SET full_name = 'Me' WHERE id = 2")
    add_people(office.database, 5, start=31)
    await office.run("2026-11-27 02:00")
    assert [rows for _, _, rows in await office.occurrences()] == [30, 6]

    reverted = await undo(office.app, "nightly", RevertOptions(reason="logins fail"), Stop(), office.publish)
    # one row was done twice
    assert (reverted.undone.rows, reverted.undone.changed) == (35, 1)
    assert office.database.rows("SELECT id FROM people WHERE full_name IS NOT NULL") == [(2,)]

    report = await office.run("2026-11-28 03:00", due=True)
    assert [(step.action, report.results) for step in report.plan.steps] == [(Action.HALTED, ())]
    assert report.plan.steps[0].reason.endswith("; `datamigrate retry nightly`")
    assert named_people(office.database) == 0
    await office.app.command("nightly", Cause.RETRY, None)
    await office.run("2026-11-28 04:00")
    assert (await office.occurrences())[2:] == [(there("2026-11-28 02:00"), "verified", 34)]


async def test_a_revert_ends_the_occurrence_that_is_on_its_way_and_the_next_one_waits_for_its_time(
    office: Office,
) -> None:
    office.project.write_script("nightly", UPDATE.format(options=NIGHTLY + ", undo_log=True"))
    await office.run()
    stop = Stop(Budget(max_batches=1))
    office.clock.now = there("2026-11-27 02:00")
    await office.app.run(RunOptions(), stop, office.publish)
    assert named_people(office.database) == 10
    reverted = await undo(office.app, "nightly", RevertOptions(), Stop(), office.publish)
    assert (reverted.undone.rows, named_people(office.database)) == (10, 0)
    assert await office.occurrences() == [(there("2026-11-27 02:00"), "reverted", 10)]
    await office.app.command("nightly", Cause.RETRY, None)
    report = await office.run()
    assert [(step.action, report.results) for step in report.plan.steps] == [(Action.SCHEDULED, ())]
    await office.run("2026-11-28 02:00")
    assert named_people(office.database) == 30


async def test_only_due_leaves_what_is_pending_alone(office: Office) -> None:
    office.project.write_script("full_name", UPDATE.format(options='tags="x"'))
    report = await office.run(due=True)
    assert (report.exit, report.results, named_people(office.database)) == (Exit.OK, (), 0)


async def test_two_runs_that_find_it_due_begin_one_occurrence(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        ann, bob, it = Ledger(ANN), Ledger(BOB), migration()

        async def taken(ledger: Ledger, due: datetime) -> bool:
            async with ours.writing() as connection:
                await ledger.ensure(connection)
                return await ledger.take_turn(connection, it, due, "due")

        later = NOON + timedelta(hours=1)
        assert await taken(ann, NOON) is True
        assert await taken(bob, NOON) is False
        assert await taken(bob, later) is False  # the one before is open
        async with ours.writing() as connection:
            await bob.claim(connection, it, 30)
        assert await taken(ann, later) is False
        database.execute("UPDATE datamigrate_migration SET state = 'failed'")
        assert await taken(ann, NOON) is False
        assert await taken(ann, later) is True
        async with ours.looking() as connection:
            found = await ann.occurrences(connection, it.name)
            view = await ann.view(connection)
        assert [(o.due_at, o.outcome) for o in found] == [(later, None), (NOON, "given up")]
        assert view.migrations[it.name].state is State.PENDING
        database.execute("UPDATE datamigrate_migration SET state = 'paused'")
        assert await taken(ann, later + timedelta(hours=1)) is False


# windows


async def test_outside_its_window_nothing_is_claimed_and_the_exit_code_says_run_again(office: Office) -> None:
    office.project.write_script("full_name", UPDATE.format(options=NIGHT))
    report = await office.run()
    assert (report.exit, report.results) == (Exit.STOPPED, ())
    assert office.state("full_name") == "unknown"
    assert named_people(office.database) == 0
    assert (await office.run(ignore_window=True)).exit is Exit.OK
    assert named_people(office.database) == 30


async def test_a_window_that_closes_stops_after_the_batch_and_gives_the_claim_back(office: Office) -> None:
    office.project.write_script("full_name", UPDATE.format(options=NIGHT))
    office.project.write_script("second", UPDATE.format(options=NIGHT), file="second.py")

    def six_o_clock(event: Event) -> None:
        if isinstance(event, BatchDone):
            office.clock.now = there("2026-11-27 06:00")

    office.listen = six_o_clock
    report = await office.run("2026-11-27 05:59")
    why = "outside its window 22:00-06:00 Europe/Berlin, which opens 2026-11-27 22:00 Europe/Berlin"
    assert report.exit is Exit.STOPPED
    assert [(r.name, r.outcome, r.reason) for r in report.results] == [
        ("full_name", "stopped", why),
        ("second", "stopped", why),
    ]
    assert named_people(office.database) == 10
    assert (office.state("full_name"), office.state("second")) == ("stopped", "unknown")
    assert office.database.scalar("SELECT count(*) FROM datamigrate_range WHERE owner IS NOT NULL") == 0
    office.listen = lambda _: None
    assert (await office.run("2026-11-27 22:00")).exit is Exit.OK
    assert named_people(office.database) == 30


async def test_a_run_that_waits_goes_on_when_the_window_opens(office: Office) -> None:
    office.project.write_script("full_name", UPDATE.format(options=NIGHT))
    told: list[str] = []

    def night_falls(event: Event) -> None:
        if isinstance(event, HeldBack):
            told.append(event.reason)
            office.clock.now = there("2026-11-26 22:00")

    office.listen = night_falls
    _, report = await run_when_open(office.app, RunOptions(), Stop(), office.publish)
    assert (report.exit, [result.outcome for result in report.results]) == (Exit.OK, ["done"])
    assert told == [
        "outside its window 22:00-06:00 Europe/Berlin, which opens 2026-11-26 22:00 Europe/Berlin"
    ]
    assert named_people(office.database) == 30


async def test_a_run_that_waits_is_stopped_by_a_signal_and_by_its_time(office: Office) -> None:
    office.project.write_script("full_name", UPDATE.format(options=NIGHT))
    stop = Stop()
    office.listen = lambda event: stop.request("SIGTERM") if isinstance(event, HeldBack) else None
    _, report = await run_when_open(office.app, RunOptions(), stop, office.publish)
    assert (report.exit, report.stopped) == (Exit.STOPPED, "SIGTERM")
    office.clock.now = there("2026-11-26 12:59:59.8")
    until = RunOptions(until="13:00 Europe/Berlin")
    _, report = await run_when_open(office.app, until, Stop(), office.publish)
    assert (report.exit, report.stopped) == (Exit.STOPPED, "it is 13:00 Europe/Berlin")


# a worker


async def test_a_worker_runs_what_is_pending_and_due_and_leaves_failures_alone(office: Office) -> None:
    office.project.write_script("full_name", UPDATE.format(options='tags="x"'))
    office.project.write_script("nick", FAILING)
    office.project.write_script("nightly", UPDATE.format(options=NIGHTLY))
    stop, said = Stop(), list[str]()
    staying = Staying(office.app, RunOptions(), stop, office.publish, said.append, poll=0.01)

    async def until(happened: Callable[[], object]) -> None:
        while True:
            await anyio.sleep(0.05)
            if happened():
                return

    with anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            group.start_soon(staying.work)
            await until(lambda: office.state("nick") == "failed")
            await until(lambda: office.state("full_name") == "done")
            await until(lambda: any(line.startswith("nightly: scheduled") for line in said))
            runs = office.database.scalar("SELECT count(*) FROM datamigrate_run")
            office.clock.now = there("2026-11-27 02:00")
            await until(lambda: office.state("nightly") == "done")
            # what has failed was not tried again
            assert office.database.scalar("SELECT count(*) FROM datamigrate_run") == runs + 1
            assert len([line for line in said if "no nick today" in line]) == 1
            await office.app.command("nick", Cause.RETRY, None)
            await until(lambda: len([line for line in said if "no nick today" in line]) == 2)
            stop.request("SIGTERM")
    assert said[0] == "Worker: starts."
    assert said[-1] == "Worker: ends (SIGTERM)."
    assert "nick: halted, failed; `datamigrate retry nick`, or an edit, lets it go on" in said
    assert {event.migration for event in office.heard if isinstance(event, Finished)} == {
        "full_name",
        "nightly",
    }
    assert not [event for event in office.heard if isinstance(event, Stopped)]


async def test_a_worker_waits_for_a_database_that_is_away(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.faces.staying.FIRST_PAUSE", 0.01)
    office.project.write_script("full_name", UPDATE.format(options='tags="x"'))
    stop, said, absences = Stop(), list[str](), 3

    class Away(Application):
        async def situation(self, *arguments: Any, **options: Any) -> Any:
            nonlocal absences
            if absences:
                absences -= 1
                raise DatabaseUnavailable("The database does not let us in.")
            return await super().situation(*arguments, **options)

    office.listen = lambda event: stop.request("SIGTERM") if isinstance(event, Finished) else None
    away = Away(office.app.project, office.clock)
    with anyio.fail_after(120):
        await Staying(away, RunOptions(), stop, office.publish, said.append, poll=0.01).work()
    assert said[1] == "Worker: The database does not let us in. Tries again in 0.0s."
    assert len([line for line in said if "Tries again" in line]) == 3
    assert named_people(office.database) == 30


async def test_a_plan_by_name_says_what_a_run_by_name_would_do(office: Office) -> None:
    office.project.write_script("nightly", UPDATE.format(options=NIGHTLY))
    situation = await office.app.situation(("nightly",), wanted=Agenda(asked=frozenset({"nightly"})))
    assert [(str(s.action), s.reason) for s in situation.plan.steps] == [("run", "asked for by name")]
