"""The lifecycle, edge by edge."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from datamigrate.thought.lifecycle import (
    BACK,
    FORTH,
    HALTED,
    NOT_MEANWHILE,
    TRANSITIONS,
    UNDOING,
    WAY_ON,
    Cause,
    Standing,
    State,
    advance,
    way_on,
    what_then,
)
from datamigrate.words.errors import LifecycleError
from datamigrate.words.exits import Exit

ALLOWED = [
    ("pending", "run", "running"),
    ("pending", "reset", "pending"),
    ("pending", "stamp", "done"),
    ("running", "taken over", "running"),
    ("running", "stop", "stopped"),
    ("running", "error", "failed"),
    ("running", "verified", "done"),
    ("running", "retry", "pending"),
    ("running", "reset", "pending"),
    ("running", "stamp", "done"),
    ("running", "downgrade", "pending"),
    ("stopped", "run", "running"),
    ("stopped", "retry", "pending"),
    ("stopped", "reset", "pending"),
    ("stopped", "stamp", "done"),
    ("stopped", "downgrade", "pending"),
    ("failed", "run", "running"),
    ("failed", "retry", "pending"),
    ("failed", "reset", "pending"),
    ("failed", "stamp", "done"),
    ("failed", "downgrade", "pending"),
    ("done", "reset", "pending"),
    ("done", "stamp", "done"),
    ("done", "reopen", "pending"),
    ("done", "downgrade", "pending"),
    ("held", "approve", "pending"),
    ("held", "cancel", "cancelled"),
    ("held", "stamp", "done"),
    ("held", "downgrade", "held"),
    ("pending", "pause", "paused"),
    ("running", "pause", "paused"),
    ("stopped", "pause", "paused"),
    ("failed", "pause", "paused"),
    ("paused", "pause", "paused"),
    ("paused", "resume", "pending"),
    ("paused", "cancel", "cancelled"),
    ("paused", "reset", "pending"),
    ("paused", "stamp", "done"),
    ("paused", "downgrade", "paused"),
    ("pending", "cancel", "cancelled"),
    ("running", "cancel", "cancelled"),
    ("stopped", "cancel", "cancelled"),
    ("failed", "cancel", "cancelled"),
    ("cancelled", "cancel", "cancelled"),
    ("cancelled", "retry", "pending"),
    ("cancelled", "reset", "pending"),
    ("cancelled", "stamp", "done"),
    ("cancelled", "downgrade", "cancelled"),
    ("pending", "tune", "pending"),
    ("running", "tune", "running"),
    ("stopped", "tune", "stopped"),
    ("failed", "tune", "failed"),
    ("held", "tune", "held"),
    ("paused", "tune", "paused"),
    *((state, "revert", "reverting") for state in ("pending", "running", "stopped", "failed", "done")),
    *((state, "revert", "reverting") for state in ("paused", "cancelled", "reverting")),
    ("reverting", "taken over", "reverting"),
    ("reverting", "stop", "reverting"),
    ("reverting", "error", "reverting"),
    ("reverting", "verified", "reverted"),
    ("reverting", "cancel", "cancelled"),
    ("reverting", "retry", "pending"),
    ("reverting", "reset", "pending"),
    ("reverting", "downgrade", "reverting"),
    ("reverting", "tune", "reverting"),
    ("reverted", "retry", "pending"),
    ("reverted", "reset", "pending"),
    ("reverted", "stamp", "done"),
    ("reverted", "downgrade", "reverted"),
    *((str(state), "prune-undo", str(state)) for state in State if state is not State.REVERTING),
    ("pending", "due", "pending"),
    ("done", "due", "pending"),
    ("done", "pause", "paused"),
    ("done", "cancel", "cancelled"),
    ("failed", "due", "pending"),
]
REFUSED = sorted(set(product(State, Cause)) - {(State(s), Cause(c)) for s, c, _ in ALLOWED})


def test_the_table_holds_these_edges_and_no_other() -> None:
    assert sorted((str(s), str(c), str(after)) for (s, c), after in TRANSITIONS.items()) == sorted(ALLOWED)


@pytest.mark.parametrize(("state", "cause", "after"), ALLOWED)
def test_an_allowed_move_is_made(state: str, cause: str, after: str) -> None:
    assert advance("fill", State(state), Cause(cause)) is State(after)


@pytest.mark.parametrize(("state", "cause"), REFUSED)
def test_any_other_move_is_refused_with_a_hint(state: State, cause: Cause) -> None:
    with pytest.raises(LifecycleError, match=f"fill is {state}; `{cause}` makes no sense there") as caught:
        advance("fill", state, cause)
    assert "datamigrate" in caught.value.hint
    assert "fill" in caught.value.hint
    assert caught.value.exit is Exit.USAGE


@pytest.mark.parametrize("cause", [Cause.PAUSE, Cause.CANCEL])
def test_what_is_done_can_only_be_stopped_if_it_recurs(cause: Cause) -> None:
    with pytest.raises(LifecycleError, match="makes no sense there") as caught:
        advance("fill", State.DONE, cause, recurs=False)
    assert "Nothing of it is left to do." in caught.value.hint


def test_retrying_what_is_done_points_at_reset() -> None:
    with pytest.raises(LifecycleError) as caught:
        advance("fill", State.DONE, Cause.RETRY)
    assert "`datamigrate reset fill`" in caught.value.hint


@pytest.mark.parametrize("state", State)
def test_no_state_is_without_a_way_out(state: State) -> None:
    ways = {after for (before, _), after in TRANSITIONS.items() if before is state and after is not state}
    assert ways


@pytest.mark.parametrize("state", sorted(set(State) - {State.HELD}))
def test_an_operator_can_put_every_state_back_in_line(state: State) -> None:
    assert advance("fill", state, Cause.RESET) is State.PENDING


@pytest.mark.parametrize("state", sorted(HALTED))
def test_no_run_moves_what_is_halted_and_the_word_it_waits_for_does(state: State) -> None:
    with pytest.raises(LifecycleError):
        advance("fill", state, Cause.RUN)
    # what is on its way back has to get there first
    after = State.REVERTING if state is State.REVERTING else State.PENDING
    assert advance("fill", state, WAY_ON[state]) is after


@pytest.mark.parametrize(
    ("state", "cause", "verb"),
    [
        (State.CANCELLED, Cause.RESUME, "retry"),
        (State.HELD, Cause.RESUME, "approve"),
        (State.HELD, Cause.RESET, "approve"),
        (State.PAUSED, Cause.RETRY, "resume"),
        (State.FAILED, Cause.RESUME, "run"),
    ],
)
def test_a_word_that_does_not_fit_is_answered_with_the_one_that_does(
    state: State, cause: Cause, verb: str
) -> None:
    with pytest.raises(LifecycleError) as caught:
        advance("fill", state, cause)
    assert f"`datamigrate {verb} fill`" in caught.value.hint


def test_a_standing_says_who_when_and_why() -> None:
    at = datetime(2026, 11, 12, 3, 4, 5, tzinfo=UTC)
    paused = Standing(State.PAUSED, "ann@web1:11", at, "the replica lags")
    assert str(paused) == "paused by ann@web1:11 on 2026-11-12 at 03:04:05Z: the replica lags"
    assert str(Standing(State.HELD)) == "held"
    assert way_on("fill", State.PAUSED) == "datamigrate resume fill"


@pytest.mark.parametrize(("state", "cause"), NOT_MEANWHILE)
def test_what_makes_no_sense_while_somebody_works_on_it_does_once_nobody_is_heard_of(
    state: State, cause: Cause
) -> None:
    assert (state, cause) in TRANSITIONS
    assert "`datamigrate" in NOT_MEANWHILE[state, cause].format(name="fill")


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (State.PENDING, "`datamigrate run fill` walks it again from the first row"),
        (State.PAUSED, "`datamigrate resume fill` lets it go on"),
        (State.CANCELLED, "`datamigrate retry fill` lets it go on"),
        (State.REVERTING, "`datamigrate status fill` tells how far back it is"),
        (State.REVERTED, "`datamigrate retry fill` lets it run again"),
    ],
)
def test_a_run_that_had_to_leave_is_told_how_it_goes_on(state: State, then: str) -> None:
    assert what_then("fill", state) == then


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_reached_from_pending(state: State) -> None:
    reached = {State.PENDING, State.HELD}  # as enrolled
    while more := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
        reached |= more
    assert state in reached


def test_only_a_verified_or_stamped_migration_becomes_done() -> None:
    edges = {(before, cause) for (before, cause), after in TRANSITIONS.items() if after is State.DONE}
    assert {cause for before, cause in edges if before is not State.DONE} == {Cause.VERIFIED, Cause.STAMP}


def test_nothing_goes_forth_from_half_way_back_unless_an_operator_says_so() -> None:
    leaving = {
        cause for (before, cause), after in TRANSITIONS.items() if before in UNDOING and after not in UNDOING
    }
    assert leaving == {Cause.RETRY, Cause.RESET, Cause.STAMP, Cause.CANCEL}
    assert BACK.halts == set(State) - UNDOING
    assert FORTH.halts > UNDOING


@pytest.mark.parametrize("state", sorted(set(State) - {State.PENDING} - HALTED))
def test_a_downgrade_puts_back_in_line_whatever_has_begun(state: State) -> None:
    assert advance("fill", state, Cause.DOWNGRADE) is State.PENDING
