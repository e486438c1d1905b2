"""What is worth telling somebody who does not look on: a migration is done, has failed, or has stalled."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from datamigrate.words import events
from datamigrate.words.duration import human_duration
from datamigrate.words.rows import rows_in
from datamigrate.words.secrets import redacted, redacted_values

KINDS = ("done", "failed", "stalled")


@dataclass(frozen=True)
class Notice:
    """One of the `KINDS`; `text` is a sentence for people, `facts` are the event's."""

    kind: str
    migration: str
    text: str
    facts: dict[str, Any]
    database: str
    owner: str
    at: datetime

    def payload(self) -> dict[str, Any]:
        """The notice as plain data; chats that take webhooks show its `text`."""
        return {
            "version": 1,
            "notice": self.kind,
            "migration": self.migration,
            "text": self.text,
            "database": self.database,
            "owner": self.owner,
            "at": self.at.isoformat(timespec="seconds"),
            "event": self.facts,
        }


def notice_of(event: events.Event, database: str, owner: str) -> Notice | None:
    """The notice that an event is worth, or None."""
    match event:
        case events.Finished(migration=name, rows=rows, seconds=seconds, quarantined=aside, before=before):
            how = f"done with {aside:,} quarantined" if aside else "done and verified"
            kind, text = "done", f"{name} is {how}: {rows_in(rows, seconds, before)}."
        case events.Failed(migration=name, reason=reason):
            kind, text = "failed", f"{name} has failed: {reason}"
        case events.Stalled(migration=name, seconds=seconds, reason=reason):
            why = f": {reason}" if reason else "."
            kind, text = "stalled", f"{name} has done no batch for {human_duration(seconds)}{why}"
        case _:
            return None
    facts = redacted_values(event.facts())
    return Notice(kind, name, redacted(text), facts, database, owner, datetime.now(UTC))
