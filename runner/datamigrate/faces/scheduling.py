"""What a situation means for the clock: schedules that the ledger does not know yet, occurrences that are due,
the hours and the end of a run, and what comes next."""

from datetime import datetime

from datamigrate.database.database import Database
from datamigrate.database.ledger.store import Ledger
from datamigrate.doing.hours import Clock, Hours, going_on_from
from datamigrate.doing.stopping import Stop
from datamigrate.faces.situation import Situation
from datamigrate.thought.agenda import UNSCHEDULED, Agenda
from datamigrate.thought.planner import LATER
from datamigrate.thought.window import next_time, told
from datamigrate.words.migration import Migration


def new_schedules(situation: Situation) -> list[tuple[Migration, str | None]]:
    """The migrations whose schedule is not the one that the ledger knows, with the one they have now."""
    found: list[tuple[Migration, str | None]] = []
    for step in situation.plan.steps:
        record = situation.record(step.migration.name)
        known = (record.recurrence if record else UNSCHEDULED).schedule
        schedule = situation.agenda.timetable.schedule_of(step.migration.options)
        if known != (text := str(schedule) if schedule else None):
            found.append((step.migration, text))
    return found


async def keep_schedules(database: Database, ledger: Ledger, situation: Situation) -> None:
    """Let the ledger know which schedules are new, or others than before: they count from now on."""
    async with database.writing() as connection:
        for migration, schedule in new_schedules(situation):
            await ledger.schedule(connection, migration, schedule, situation.agenda.now)


async def take_turns(database: Database, ledger: Ledger, situation: Situation) -> None:
    """Begin the occurrences that are due, unless another run has done so meanwhile."""
    for step in situation.plan.to_do:
        if step.due:
            async with database.writing() as connection:
                await ledger.take_turn(connection, step.migration, step.due, step.reason)


def hours_of(situation: Situation, clock: Clock | None) -> Hours:
    """The hours of a run that begins now; by the database's clock, unless there is another one."""
    agenda = situation.agenda
    return Hours(agenda.timetable, clock or going_on_from(agenda.now), agenda.ignores_windows)


def end_at(stop: Stop, time_of_day: str, agenda: Agenda) -> None:
    """Let a run stop at the next such time. Raises UsageError when it is none."""
    zone = agenda.timetable.zone
    end = next_time(time_of_day, zone, agenda.now)
    shown = time_of_day if " " in time_of_day.strip() else told(end, zone)
    stop.end_in((end - agenda.now).total_seconds(), f"it is {shown}")


def next_moment(situation: Situation) -> datetime | None:
    """When the first thing that waits for its time may be done; None when nothing does."""
    moments = [step.at for step in situation.plan.steps if step.action in LATER and step.at]
    return min(moments, default=None)
