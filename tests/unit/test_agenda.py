"""What a moment makes of windows and schedules in a plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from datamigrate.thought.agenda import Agenda, Recurrence, Timetable
from datamigrate.thought.lifecycle import Standing, State
from datamigrate.thought.planner import Action, Plan, Record, Revisions, Schema, Step, make_plan
from datamigrate.words.migration import Migration, Options
from unit.samples import migration
from unit.test_window import BERLIN, there

NIGHT = "22:00-06:00 Europe/Berlin"
NOON = there("2026-11-26 12:00")
LAST_NIGHT = there("2026-11-26 02:00")
TONIGHT = there("2026-11-27 02:00")
ZONE = Timetable(zone=BERLIN)
NIGHTLY = "0 2 * * *"


def script(name: str = "fill", depends_on: tuple[str, ...] = (), **options: Any) -> Migration:
    return replace(migration(name, depends_on), options=Options(**options))


def recurring(name: str = "nightly", **options: Any) -> Migration:
    return script(name, schedule=NIGHTLY, **options)


def known(state: State = State.DONE, checksum: str = "1", **recurrence: Any) -> Record:
    """A record of one that has had its schedule for a year."""
    since = NOON - timedelta(days=365)
    remembered = Recurrence(f"{NIGHTLY} {BERLIN}", **{"since": since, "due": LAST_NIGHT, **recurrence})
    return Record(state, checksum, rows=7, recurrence=remembered)


def plan(
    *scripts: Migration, at: datetime = NOON, ledger: dict[str, Record] | None = None, **agenda: Any
) -> Plan:
    wanted = Agenda(**{"now": at, "timetable": ZONE, **agenda})
    revisions = {m.name: Revisions(()) for m in scripts}
    return make_plan(scripts, revisions, Schema((), frozenset(), {}), ledger or {}, wanted)


def step(it: Migration, record: Record | None = None, **how: Any) -> Step:
    (only,) = plan(it, ledger={it.name: record} if record else {}, **how).steps
    return only


# windows


def test_outside_its_window_it_waits_and_says_until_when() -> None:
    found = step(script(window=NIGHT))
    assert (found.action, found.at) == (Action.WAITING, there("2026-11-26 22:00"))
    assert found.reason == f"outside its window {NIGHT}, which opens 2026-11-26 22:00 Europe/Berlin"
    assert step(script(window=NIGHT), at=there("2026-11-26 22:00")).action is Action.RUN


def test_the_projects_window_holds_for_scripts_that_have_none() -> None:
    timetable = Timetable(window=NIGHT)
    assert step(script(), timetable=timetable).action is Action.WAITING
    assert step(script(window="00:00-24:00"), timetable=timetable).action is Action.RUN


def test_a_window_without_a_zone_is_in_the_projects() -> None:
    assert step(script(window="13:00-14:00"), at=there("2026-11-26 13:30")).action is Action.RUN
    assert "Europe/Berlin" in step(script(window="13:00-14:00")).reason


def test_in_an_emergency_no_window_counts() -> None:
    assert step(script(window=NIGHT), ignores_windows=True).action is Action.RUN


def test_what_depends_on_one_that_waits_is_blocked() -> None:
    first, second = plan(script("a", window=NIGHT), script("b", ("a",))).steps
    assert (first.action, second.action) == (Action.WAITING, Action.BLOCKED)


def test_what_is_done_does_not_wait_for_a_window() -> None:
    assert step(script(window=NIGHT), Record(State.DONE, "1")).action is Action.DONE


# schedules


def test_one_that_is_new_waits_for_its_first_due_time() -> None:
    found = step(recurring())
    assert (found.action, found.reason) == (Action.SCHEDULED, "next 2026-11-27 02:00 Europe/Berlin")
    assert (found.at, found.is_settled) == (TONIGHT, False)


def test_one_that_was_enrolled_is_due_from_the_first_due_time_after_that() -> None:
    enrolled = known(State.PENDING, since=there("2026-11-26 01:00"), due=None)
    found = step(recurring(), enrolled)
    assert (found.action, found.due) == (Action.RUN, LAST_NIGHT)
    assert found.reason == "due since 2026-11-26 02:00 Europe/Berlin"
    late = known(State.PENDING, since=there("2026-11-26 03:00"), due=None)
    assert step(recurring(), late).action is Action.SCHEDULED


def test_one_that_is_done_is_settled_until_it_is_due_again() -> None:
    found = step(recurring(), known())
    assert (found.action, found.is_settled) == (Action.SCHEDULED, True)
    again = step(recurring(), known(), at=TONIGHT)
    assert (again.action, again.due) == (Action.RUN, TONIGHT)


def test_what_was_missed_is_caught_up_once() -> None:
    found = step(recurring(), known(due=there("2026-11-01 02:00")))
    assert (found.action, found.due) == (Action.RUN, LAST_NIGHT)


@pytest.mark.parametrize("state", [State.PENDING, State.STOPPED, State.RUNNING])
def test_an_occurrence_that_is_not_done_goes_on_before_the_next_begins(state: State) -> None:
    found = step(recurring(), known(state, due=there("2026-11-25 02:00"), is_open=True))
    assert (found.action, found.due) == (Action.RESUME, None)


def test_one_that_has_failed_is_given_up_when_the_next_is_due() -> None:
    failed = known(State.FAILED, is_open=True)
    assert (step(recurring(), failed).action, step(recurring(), failed).due) == (Action.RESUME, None)
    assert step(recurring(), failed, at=TONIGHT).due == TONIGHT


def test_a_schedule_that_was_changed_has_missed_nothing() -> None:
    found = step(script("nightly", schedule="0 11 * * *"), known())
    assert (found.action, found.at) == (Action.SCHEDULED, there("2026-11-27 11:00"))


def test_an_edit_of_one_that_recurs_is_no_drift() -> None:
    assert step(recurring(), known(checksum="another")).action is Action.SCHEDULED


def test_by_name_it_runs_at_once_and_goes_on_with_what_is_open() -> None:
    found = step(recurring(), known(), asked=frozenset({"nightly"}))
    assert (found.action, found.due, found.reason) == (Action.RUN, NOON, "asked for by name")
    going_on = known(State.STOPPED, is_open=True)
    assert step(recurring(), going_on, asked=frozenset({"nightly"})).due is None


def test_its_clock_is_that_of_its_window_else_the_projects_else_utc() -> None:
    tokyo = step(recurring(window="00:00-24:00 Asia/Tokyo"))
    assert tokyo.reason == "next 2026-11-27 02:00 Asia/Tokyo"
    assert step(recurring(), timetable=Timetable()).reason == "next 2026-11-27 02:00 UTC"


def test_one_that_is_due_outside_its_window_waits_for_it() -> None:
    found = step(recurring(window="04:00-05:00"), known(), at=TONIGHT)
    assert (found.action, found.due) == (Action.WAITING, None)


def test_what_is_held_paused_or_blocked_is_not_due() -> None:
    assert step(recurring(hold=True)).action is Action.HALTED
    assert step(recurring(), known(State.PAUSED), at=TONIGHT).action is Action.HALTED


def test_one_that_was_held_has_missed_nothing_before_it_was_approved() -> None:
    held = known(State.PENDING, due=None)
    assert step(recurring(), held).due == LAST_NIGHT
    approved = replace(held, standing=Standing(State.PENDING, at=NOON))
    assert step(recurring(), approved).action is Action.SCHEDULED
    assert step(recurring(), approved, at=TONIGHT).due == TONIGHT


def test_only_due_leaves_everything_else_alone_and_what_depends_on_it() -> None:
    found = plan(
        script("a"), recurring("b", depends_on=("a",)), recurring("c"), at=TONIGHT,
        ledger={"b": known(), "c": known()}, only_due=True,
    )  # fmt: skip
    assert [(s.migration.name, s.action) for s in found.steps] == [("b", Action.BLOCKED), ("c", Action.RUN)]


# what a worker leaves alone


def test_what_has_failed_is_left_alone_until_a_retry_or_an_edit() -> None:
    failed = Record(State.FAILED, "1", rows=3)
    left = step(script(), failed, retries_failed=False)
    assert (left.action, left.reason) == (
        Action.HALTED, "failed; `datamigrate retry fill`, or an edit, lets it go on",
    )  # fmt: skip
    assert step(script(), failed).action is Action.RESUME
    assert step(script(), replace(failed, checksum="0"), retries_failed=False).action is Action.RESUME
    assert step(script(), replace(failed, state=State.PENDING), retries_failed=False).action is Action.RESUME
    due_again = step(recurring(), known(State.FAILED, is_open=True), at=TONIGHT, retries_failed=False)
    assert due_again.action is Action.RUN


def test_what_is_spared_is_left_alone_until_it_is_edited_or_moved() -> None:
    moved = Standing(State.PENDING, at=LAST_NIGHT)
    record = Record(State.PENDING, "1", standing=moved)
    assert step(script(), record, spared={"fill": ("1", LAST_NIGHT)}).action is Action.HALTED
    assert step(script(), record, spared={"fill": ("0", LAST_NIGHT)}).action is Action.RUN
    assert step(script(), record, spared={"fill": ("1", None)}).action is Action.RUN
    assert step(script(), spared={"fill": ("1", None)}).action is Action.HALTED
