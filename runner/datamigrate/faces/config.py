"""`[tool.datamigrate]` in pyproject.toml: found in the current directory or above."""

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from datamigrate.doing.settings import Settings
from datamigrate.words.duration import parse_duration
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
        if key not in _KEYS:
            close = get_close_matches(key, _KEYS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(sorted(_KEYS))}."
            raise ConfigurationError(f"{source}: [tool.datamigrate] has an unknown key {key!r}.", hint)
        try:
            configuration = _KEYS[key](configuration, value)
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


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text is wanted")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError('a duration is wanted, e.g. 0.5, "500ms" or "10s"')
    seconds = parse_duration(value) if isinstance(value, str) else float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError("it must be neither negative nor infinite")
    return seconds


def _positive(value: Any) -> float:
    if (seconds := _seconds(value)) <= 0:
        raise ValueError("it must be greater than nought")
    return seconds


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number greater than nought is wanted")
    return value


def _connections(value: Any) -> int:
    if _count(value) < 2:
        raise ValueError("at least two are wanted: one to work, one to give signs of life")
    return int(value)


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError("a share of time is wanted, from 0 to less than 1")
    return float(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is wanted")
    return value


def _setting(change: Callable[[Settings, Any], Settings]) -> _Set:
    return lambda configuration, value: replace(configuration, settings=change(configuration.settings, value))


def _first_rows(settings: Settings, value: Any) -> Settings:
    return replace(settings, first_rows=_count(value))


def _max_rows(settings: Settings, value: Any) -> Settings:
    return replace(settings, limits=replace(settings.limits, max_rows=_count(value)))


def _target_time(settings: Settings, value: Any) -> Settings:
    return replace(settings, limits=replace(settings.limits, target_time=_positive(value)))


def _lock_timeout(settings: Settings, value: Any) -> Settings:
    return replace(settings, timeouts=replace(settings.timeouts, lock=_positive(value)))


def _statement_timeout(settings: Settings, value: Any) -> Settings:
    return replace(settings, timeouts=replace(settings.timeouts, statement=_positive(value)))


def _idle_timeout(settings: Settings, value: Any) -> Settings:
    return replace(settings, timeouts=replace(settings.timeouts, idle=_positive(value)))


_KEYS: dict[str, _Set] = {
    "scripts": lambda c, v: replace(c, scripts=_text(v)),
    "schema": lambda c, v: replace(c, schema=_text(v)),
    "engine": lambda c, v: replace(c, engine=_text(v)),
    "lint_since": lambda c, v: replace(c, lint_since=_text(v)),
    "first_batch_size": _setting(_first_rows),
    "max_batch_size": _setting(_max_rows),
    "target_time": _setting(_target_time),
    "max_pause": _setting(lambda s, v: replace(s, max_pause=_seconds(v))),
    "nice": _setting(lambda s, v: replace(s, nice=_share(v))),
    "pause": _setting(lambda s, v: replace(s, pause=_seconds(v))),
    "lock_timeout": _setting(_lock_timeout),
    "statement_timeout": _setting(_statement_timeout),
    "idle_timeout": _setting(_idle_timeout),
    "claim_expiry": _setting(lambda s, v: replace(s, claim_expiry=_positive(v))),
    "max_sweeps": _setting(lambda s, v: replace(s, max_sweeps=_count(v))),
    "max_attempts": _setting(lambda s, v: replace(s, max_attempts=_count(v))),
    "max_connections": _setting(lambda s, v: replace(s, max_connections=_connections(v))),
    "synchronous_commit": _setting(lambda s, v: replace(s, durable_batches=_switch(v))),
}
