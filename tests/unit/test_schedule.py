"""When a recurring migration is due: cron's five fields by the clock of a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.schedule import parse_schedule
from datamigrate.words.errors import UsageError
from unit.test_window import BERLIN, around_a_change, moments, there, zones

NIGHTLY = parse_schedule("0 2 * * *", BERLIN)


def test_next_is_after_the_moment_and_latest_is_up_to_it() -> None:
    due = there("2026-11-27 02:00")
    assert NIGHTLY.next(there("2026-11-26 12:00")) == due
    assert NIGHTLY.next(due) == there("2026-11-28 02:00")
    assert NIGHTLY.latest(due) == due
    assert NIGHTLY.latest(due - timedelta(microseconds=1)) == there("2026-11-26 02:00")
    assert NIGHTLY.latest(there("2026-11-30 01:00")) == there("2026-11-29 02:00")


def test_a_time_that_is_skipped_in_spring_is_due_when_the_clock_goes_on() -> None:
    skipped = parse_schedule("30 2 * * *", BERLIN)
    assert skipped.next(there("2026-03-29 00:00")) == there("2026-03-29 03:00")
    assert skipped.latest(there("2026-03-29 12:00")) == there("2026-03-29 03:00")
    assert skipped.next(there("2026-03-29 03:00")) == there("2026-03-30 02:30")


def test_a_time_that_is_lived_twice_in_autumn_is_due_the_first_time_only() -> None:
    twice = parse_schedule("30 2 * * *", BERLIN)
    first = there("2026-10-25 02:30", fold=0)
    assert twice.next(there("2026-10-25 00:00")) == first
    for later in (there("2026-10-25 02:15", fold=1), there("2026-10-25 02:45", fold=1)):
        assert twice.latest(later) == first
        assert twice.next(later) == there("2026-10-26 02:30")


def test_it_is_told_as_it_was_written_with_its_zone() -> None:
    assert str(parse_schedule(" 0  2 * * MON ", BERLIN)) == "0 2 * * MON Europe/Berlin"


@pytest.mark.parametrize(
    "text", ["", "nightly", "@daily", "0 2 * *", "0 0 2 * * *", "61 2 * * *", "0 0 30 2 *"]
)
def test_what_is_no_schedule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is no schedule") as caught:
        parse_schedule(text)
    assert "0 2 * * *" in caught.value.hint


texts = st.sampled_from(
    [
        "0 2 * * *",
        "30 2 * * *",
        "59 1 * * *",
        "*/7 * * * *",
        "0 */3 * * *",
        "15 1,2,3 * * *",
        "0 4 * * MON",
        "5 0 1 * *",
    ]
)


@given(texts, zones, moments | around_a_change)
def test_latest_and_next_agree_on_which_moments_are_due(text: str, zone: str, moment: datetime) -> None:
    schedule = parse_schedule(text, zone)
    latest, following = schedule.latest(moment), schedule.next(moment)
    assert latest <= moment < following
    assert schedule.latest(following) == following
    assert schedule.latest(following - timedelta(microseconds=1)) == latest
    assert schedule.next(latest) == following


@given(st.text(max_size=20) | st.text("0123456789*/-, LW#", max_size=20))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    try:
        schedule = parse_schedule(text)
    except UsageError:
        return
    assert schedule.next(datetime(2026, 1, 1, tzinfo=UTC)) > datetime(2026, 1, 1, tzinfo=UTC)
