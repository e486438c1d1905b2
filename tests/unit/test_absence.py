"""Who works on a migration is missed: at once on the same host, after a while from another."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from datamigrate.database.ledger.records import MigrationRecord, RangeRecord
from datamigrate.doing.owner import this_process
from datamigrate.faces.absence import absence
from datamigrate.thought.lifecycle import State
from datamigrate.words.claim import Owner, Tally

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
ELSEWHERE = Owner("ann", "web-1", 7, "-", "a")
ME = this_process()
GONE = replace(ME, pid=2**22 + 1, token="b")  # no system has so many processes


def under_way(*owners: tuple[Owner, float], state: State = State.RUNNING) -> MigrationRecord:
    """A migration with a range for each owner, who was heard of so many seconds ago."""
    ranges = tuple(
        RangeRecord(
            "slow",
            number,
            None,
            None,
            False,
            0,
            Tally(),
            0,
            0.0,
            str(owner),
            NOW - timedelta(seconds=silent),
            identity=owner.identity,
        )
        for number, (owner, silent) in enumerate(owners)
    )
    return MigrationRecord("slow", state, "", (), "slow.py", None, None, NOW, None, None, ranges=ranges)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (under_way((ELSEWHERE, 4)), None),
        (under_way((ELSEWHERE, 17)), "ann@web-1:7 was not heard of for 17.0s"),
        (under_way((ELSEWHERE, 95), (replace(ELSEWHERE, pid=8), 4)), None),
        (under_way((GONE, 1)), f"{GONE} is gone; `datamigrate run slow` goes on"),
        (under_way((GONE, 1), (ELSEWHERE, 4)), None),
        (under_way((GONE, 1), state=State.REVERTING), f"{GONE} is gone; `datamigrate revert slow` goes on"),
        (under_way((GONE, 1), state=State.STOPPED), None),
        (under_way(), None),
    ],
)
def test_it_is_told_when_nobody_is_at_work_any_more(record: MigrationRecord, told: str | None) -> None:
    assert absence(record, NOW, ME) == told
