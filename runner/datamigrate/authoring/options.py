"""What an author may say of how the work is to be done, and what makes sense of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypedDict

import sqlalchemy as sa

from datamigrate.thought.schedule import parse_schedule
from datamigrate.thought.window import parse_window
from datamigrate.words.errors import ScriptError, UsageError
from datamigrate.words.migration import Options


class FormOptions(TypedDict, total=False):
    """How the work is to be done; every walking form takes these.

    `batch_size` in rows, instead of a time target; `target_time` in seconds per batch; `max_pause` in
    seconds between two batches; `tags` for `--tag`; `mask`, the columns whose values are never shown;
    `hold`, to wait for `datamigrate approve` before the first run; `window`, the times of the week at which
    it may be worked on, like "22:00-06:00 Europe/Berlin"; `schedule`, five fields of cron, for one that is
    due again and again; `undo_log`, to keep what is changed, so that `datamigrate revert` can put it back.
    `on_row_error` says whether a row that fails by itself stops the migration or is set
    aside, up to `max_quarantined` rows; `quarantine_values`, to keep what such a row holds beside its key.
    """

    batch_size: int
    target_time: float
    max_pause: float
    tags: Iterable[str]
    mask: Iterable[sa.ColumnClause[Any] | str]
    hold: bool
    undo_log: bool
    on_row_error: Literal["stop", "quarantine"]
    max_quarantined: int
    quarantine_values: bool
    window: str
    schedule: str


MOST_QUARANTINED = 10_000

OF_A_FREE_FORM = ("hold", "window", "schedule")
"""What makes sense without batches too: a free-form script says it at its top, as `hold = True`."""


def options_from(given: Mapping[str, Any], concurrency: int = 10) -> Options:
    """The options that were given, the others left open. Raises ScriptError for one that makes no sense."""
    if unknown := sorted(given.keys() - FormOptions.__annotations__.keys()):
        known = ", ".join(FormOptions.__annotations__)
        raise ScriptError(f"`{unknown[0]}` is no option of a form.", f"There are: {known}.")
    settled = {
        _FIELDS.get(name, name): _READ[name](name, value) for name, value in given.items() if name in _READ
    }
    return Options(concurrency=_whole_number("concurrency", concurrency), **settled)


def tags_from(given: Mapping[str, Any]) -> frozenset[str]:
    """The tags that were given; a single one needs no list."""
    tags = given.get("tags", ())
    return frozenset((tags,) if isinstance(tags, str) else tags)


def _positive(name: str, value: Any) -> Any:
    if value is not None and value <= 0:
        raise ScriptError(f"`{name}` is {value}.", "It must be greater than nought.")
    return value


def _not_negative(name: str, value: Any) -> Any:
    if value is not None and value < 0:
        raise ScriptError(f"`{name}` is {value}.", "It must not be negative.")
    return value


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ScriptError(f"`{name}` is {value!r}.", f"Write {name}=True, or leave it out.")
    return value


def _quarantines(name: str, value: Any) -> bool:
    if value not in ("stop", "quarantine"):
        raise ScriptError(f"`{name}` is {value!r}.", 'Write "stop" or "quarantine".')
    return bool(value == "quarantine")


def _whole_number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ScriptError(f"`{name}` is {value!r}.", "It must be a whole number.")
    return int(_positive(name, value))


def _most_quarantined(name: str, value: Any) -> int:
    # each of them is left out by its key in every statement, which can hold so many parameters only
    if _whole_number(name, value) > MOST_QUARANTINED:
        raise ScriptError(
            f"`{name}` is {value:,}.",
            f"It must not be more than {MOST_QUARANTINED:,}: so many rows do not fail one by one. Leave them out of "
            "`pending`.",
        )
    return int(value)


def _parsed(parse: Callable[[str], object]) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise ScriptError(f"`{name}` is {value!r}.", "It must be a text.")
        try:
            parse(value)
        except UsageError as error:
            raise ScriptError(f"`{name}`: {error.message}", error.hint) from None
        return value

    return read


def _column_names(value: Any) -> frozenset[str]:
    return frozenset(column if isinstance(column, str) else column.name for column in value)


_READ: dict[str, Callable[[str, Any], Any]] = {
    "batch_size": _positive,
    "target_time": _positive,
    "max_pause": _not_negative,
    "mask": lambda _, columns: _column_names(columns),
    "hold": _switch,
    "undo_log": _switch,
    "on_row_error": _quarantines,
    "max_quarantined": _most_quarantined,
    "quarantine_values": _switch,
    "window": _parsed(parse_window),
    "schedule": _parsed(parse_schedule),
}

_FIELDS = {"on_row_error": "quarantines"}
