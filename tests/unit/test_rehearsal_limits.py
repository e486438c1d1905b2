"""A dry run is no more patient than the run that it foresees."""

from __future__ import annotations

from datamigrate.database.dialects.base import Timeouts
from datamigrate.doing.sampling import limits_of
from datamigrate.doing.settings import Settings


def test_it_waits_a_second_for_a_lock_and_five_for_a_statement() -> None:
    limits = limits_of(Settings(), None)
    assert (limits.time, limits.timeouts.lock, limits.timeouts.statement) == (5.0, 1.0, 5.0)


def test_a_shorter_lock_timeout_and_a_longer_time_are_kept_to() -> None:
    limits = limits_of(Settings(timeouts=Timeouts(lock=0.2)), 30.0, rows=7)
    assert (limits.time, limits.timeouts.lock, limits.timeouts.statement) == (30.0, 0.2, 30.0)
    assert limits.rows == 7


def test_where_a_run_waits_for_ever_a_dry_run_does_not() -> None:
    assert limits_of(Settings(timeouts=Timeouts(lock=None)), None).timeouts.lock == 1.0
