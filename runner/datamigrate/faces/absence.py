"""Whether those who work on a migration are still there."""

from datetime import datetime

from datamigrate.database.ledger.records import MigrationRecord
from datamigrate.doing.owner import is_gone
from datamigrate.thought.lifecycle import State
from datamigrate.words.claim import Owner, person
from datamigrate.words.duration import human_duration

SILENCE = 10.0
"""Seconds without a sign of life, of which there is one every three, after which that is told."""


def absence(record: MigrationRecord, at: datetime, me: Owner) -> str | None:
    """Why nobody may be at work on what the ledger says is under way `at` this moment of its clock; None when
    somebody is, or when it is not under way."""
    claims = {r.identity: r.heartbeat for r in record.ranges if r.identity}
    if record.state not in (State.RUNNING, State.REVERTING) or not claims:
        return None
    last = max(claims, key=lambda owner: claims[owner] or datetime.min.replace(tzinfo=at.tzinfo))
    verb = "revert" if record.state is State.REVERTING else "run"
    if all(is_gone(owner, me) for owner in claims):
        return f"{person(last)} is gone; `datamigrate {verb} {record.name}` goes on"
    heard = claims[last]
    if heard is None or (silent := (at - heard).total_seconds()) <= SILENCE:
        return None
    return f"{person(last)} was not heard of for {human_duration(silent)}"
