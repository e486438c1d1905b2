"""Events as records of Python's own logging, under `datamigrate`, and a formatter that writes them as JSON."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from datamigrate.words import events
from datamigrate.words.secrets import redacted_values

LOGGER = logging.getLogger("datamigrate")
LOGGER.addHandler(logging.NullHandler())

FACTS = "datamigrate"
"""The record's attribute with the event as plain data."""

_LEVELS: dict[type[events.Event], int] = {
    events.BatchDone: logging.DEBUG,
    events.Retrying: logging.WARNING,
    events.HeldBack: logging.WARNING,
    events.Stalled: logging.WARNING,
    events.Undelivered: logging.WARNING,
    events.Failed: logging.ERROR,
}


def log_event(event: events.Event) -> None:
    """Log an event: its kind is the message, its facts are the record's `datamigrate`."""
    level = _LEVELS.get(type(event), logging.INFO)
    if LOGGER.isEnabledFor(level):
        log_facts(redacted_values(event.facts()), level)


def log_facts(facts: dict[str, Any], level: int = logging.INFO) -> None:
    """Log what has an `event` to say what it is."""
    LOGGER.log(level, facts["event"], extra={FACTS: facts})


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: what was told, then when (UTC) and how grave it is."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        facts = getattr(record, FACTS, None) or {"event": "Log", "message": record.getMessage()}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        about = {"time": at, "level": record.levelname.lower(), "logger": record.name}
        return json.dumps({**facts, **about}, default=str)


class _Ours(logging.StreamHandler[Any]):
    """The handler of the command line, of which there is one at most."""


def write_json_to(stream: Any | None) -> None:
    """From now on every event is a line of JSON on this stream; None: on none of ours."""
    LOGGER.handlers[:] = [handler for handler in LOGGER.handlers if not isinstance(handler, _Ours)]
    LOGGER.setLevel(logging.NOTSET if stream is None else logging.DEBUG)
    if stream is not None:
        handler = _Ours(stream)
        handler.setFormatter(JsonFormatter())
        LOGGER.addHandler(handler)
