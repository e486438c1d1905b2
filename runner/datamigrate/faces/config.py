"""`[tool.datamigrate]` in pyproject.toml: found in the current directory or above."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datamigrate.doing.settings import Settings
from datamigrate.faces.notifying import Notify, notify_from
from datamigrate.faces.throttling import throttle_from
from datamigrate.faces.values import count, must_be_known, positive, seconds, share, switch, text
from datamigrate.thought.agenda import ANY_TIME, Timetable
from datamigrate.thought.health import Throttle
from datamigrate.thought.window import checked_zone, parse_window
from datamigrate.words.errors import ConfigurationError, UsageError


@dataclass(frozen=True)
class Configuration:
    """What the project says. `root` is where its paths begin; None until one is found."""

    root: Path | None = None
    scripts: str = "datamigrations"
    schema: str | None = None
    engine: str | None = None
    lint_since: str | None = None
    settings: Settings = field(default_factory=Settings)
    timetable: Timetable = ANY_TIME
    throttle: Throttle = field(default_factory=Throttle)
    notify: Notify = field(default_factory=Notify)


def read_configuration(start: Path) -> Configuration:
    """The nearest `[tool.datamigrate]`, or the defaults. Raises ConfigurationError with file and key."""
    for directory in (start, *start.parents):
        file = directory / "pyproject.toml"
        if (table := _table(file)) is not None:
            return configuration_from(table, directory, str(file))
    return Configuration()


def configuration_from(table: Mapping[str, Any], root: Path, source: str) -> Configuration:
    """The configuration in this table. Raises ConfigurationError for an unknown key or a wrong value."""
    configuration = Configuration(root=root)
    for key, value in table.items():
        try:
            must_be_known(key, _KEYS, "[tool.datamigrate]")
            configuration = _KEYS[key](configuration, value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}: {error.message}", error.hint) from None
        except (ValueError, OverflowError, UsageError) as error:
            raise ConfigurationError(f"{source}: [tool.datamigrate] {key} = {value!r}: {error}") from None
    return configuration


def _table(file: Path) -> Mapping[str, Any] | None:
    if not file.is_file():
        return None
    try:
        tool = tomllib.loads(file.read_text("utf-8")).get("tool", {})
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}.") from None
    table = tool.get("datamigrate") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigurationError(f"{file}: tool.datamigrate is not a table.")
    return table


_Set = Callable[[Configuration, Any], Configuration]


def _window(timetable: Timetable, value: Any) -> Timetable:
    parse_window(text(value))
    return replace(timetable, window=value)


def _zone(timetable: Timetable, value: Any) -> Timetable:
    return replace(timetable, zone=checked_zone(text(value)))


def _connections(value: Any) -> int:
    if count(value) < 2:
        raise ValueError("at least two are wanted: one to work, one to give signs of life")
    return int(value)


def _setting(change: Callable[[Settings, Any], Settings]) -> _Set:
    return lambda configuration, value: replace(configuration, settings=change(configuration.settings, value))


def _first_rows(settings: Settings, value: Any) -> Settings:
    return replace(settings, first_rows=count(value))


def _max_rows(settings: Settings, value: Any) -> Settings:
    return replace(settings, limits=replace(settings.limits, max_rows=count(value)))


def _target_time(settings: Settings, value: Any) -> Settings:
    return replace(settings, limits=replace(settings.limits, target_time=positive(value)))


def _lock_timeout(settings: Settings, value: Any) -> Settings:
    return replace(settings, timeouts=replace(settings.timeouts, lock=positive(value)))


def _statement_timeout(settings: Settings, value: Any) -> Settings:
    return replace(settings, timeouts=replace(settings.timeouts, statement=positive(value)))


def _idle_timeout(settings: Settings, value: Any) -> Settings:
    return replace(settings, timeouts=replace(settings.timeouts, idle=positive(value)))


_KEYS: dict[str, _Set] = {
    "scripts": lambda c, v: replace(c, scripts=text(v)),
    "schema": lambda c, v: replace(c, schema=text(v)),
    "engine": lambda c, v: replace(c, engine=text(v)),
    "lint_since": lambda c, v: replace(c, lint_since=text(v)),
    "window": lambda c, v: replace(c, timetable=_window(c.timetable, v)),
    "timezone": lambda c, v: replace(c, timetable=_zone(c.timetable, v)),
    "notify": lambda c, v: replace(c, notify=notify_from(v)),
    "throttle": lambda c, v: replace(c, throttle=throttle_from(v)),
    "first_batch_size": _setting(_first_rows),
    "max_batch_size": _setting(_max_rows),
    "target_time": _setting(_target_time),
    "max_pause": _setting(lambda s, v: replace(s, max_pause=seconds(v))),
    "nice": _setting(lambda s, v: replace(s, nice=share(v))),
    "pause": _setting(lambda s, v: replace(s, pause=seconds(v))),
    "lock_timeout": _setting(_lock_timeout),
    "statement_timeout": _setting(_statement_timeout),
    "idle_timeout": _setting(_idle_timeout),
    "claim_expiry": _setting(lambda s, v: replace(s, claim_expiry=positive(v))),
    "max_sweeps": _setting(lambda s, v: replace(s, max_sweeps=count(v))),
    "max_attempts": _setting(lambda s, v: replace(s, max_attempts=count(v))),
    "max_deaths": _setting(lambda s, v: replace(s, max_deaths=count(v))),
    "max_connections": _setting(lambda s, v: replace(s, max_connections=_connections(v))),
    "synchronous_commit": _setting(lambda s, v: replace(s, durable_batches=switch(v))),
}
