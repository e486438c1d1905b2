"""`[tool.datamigrate.throttle]`: what of the database's health holds a run back, and from where on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from datamigrate.faces.values import must_be_known, number, positive, seconds, size, switch, text
from datamigrate.thought.health import DEFAULT_GUARDS, FUNCTION, OTHERS, URL, Guard, Throttle
from datamigrate.words.errors import ConfigurationError, UsageError

SECTION = "[tool.datamigrate.throttle]"

_NUMBERS: Mapping[str, Callable[[Any], float]] = {
    "replica_lag": seconds,
    "wal_rate": size,
    "archive_backlog": number,
    "lock_waits": number,
    "active_sessions": number,
    OTHERS: number,
    "xmin_age": number,
    "dead_rows": number,
    "pool_wait": seconds,
    "wal_size": size,
}
_UNREADABLE = {"hold": True, "go on": False}
_KEYS = (*_NUMBERS, "autovacuum", FUNCTION, URL, "lag_query", "every", "patience")


def throttle_from(value: Any) -> Throttle:
    """What is watched: a table; or the name of a function to be asked beside the defaults; or false, nothing.

    Raises ValueError that says what is wanted instead, ConfigurationError for a key of the table.
    """
    if value is False:
        return Throttle(guards=())
    if isinstance(value, str):
        return throttle_from({FUNCTION: value})
    if not isinstance(value, dict):
        raise ValueError('a table is wanted, or "module:function", or false')
    throttle = Throttle()
    for key, setting in value.items():
        must_be_known(key, _KEYS, SECTION)
        try:
            throttle = _with(throttle, key, setting)
        except (ValueError, OverflowError, UsageError) as error:
            # the setting itself is not repeated: there may be a secret in it
            raise ConfigurationError(f"{SECTION} {key}: {error}") from None
    return throttle


def _with(throttle: Throttle, key: str, setting: Any) -> Throttle:
    if key == "every":
        return replace(throttle, every=positive(setting))
    if key == "patience":
        return replace(throttle, patience=positive(setting))
    if key == "lag_query":
        return replace(throttle, lag_query=text(setting))
    guards = tuple(guard for guard in throttle.guards if guard.signal != key)
    if setting is False:
        return replace(throttle, guards=guards)
    if key in (FUNCTION, URL):
        asked, closed = _asked(key, setting)
        throttle = replace(throttle, guards=(*guards, Guard(key, 0, 0, closed)))
        return replace(throttle, function=asked) if key == FUNCTION else replace(throttle, url=asked)
    return replace(throttle, guards=(*guards, _guard(key, setting)))


def _guard(key: str, setting: Any) -> Guard:
    """A threshold alone is `high`; then the work goes on at half of it."""
    if key == "autovacuum":
        parts = setting if isinstance(setting, dict) else {}
        if not parts:
            switch(setting)
        _only(parts, "unreadable")
        return Guard(key, 0, 0, _closed(parts, default=False))
    read = _NUMBERS[key]
    parts = setting if isinstance(setting, dict) else {"high": setting}
    _only(parts, "high", "low", "unreadable")
    default = next((guard for guard in DEFAULT_GUARDS if guard.signal == key), None)
    if "high" not in parts and default is None:
        raise ValueError("high is wanted")
    high = read(parts["high"]) if "high" in parts or default is None else default.high
    low = read(parts["low"]) if "low" in parts else high / 2
    if low > high:
        raise ValueError("low must not be above high")
    closed = _closed(parts, default=default is not None and default.closed)
    return Guard(key, high, low, closed, slows=key == OTHERS)


def _asked(key: str, setting: Any) -> tuple[str, bool]:
    """Whom to ask, and whether no answer holds the work back: it does unless told otherwise."""
    name = "call" if key == FUNCTION else "get"
    parts = setting if isinstance(setting, dict) else {name: setting}
    _only(parts, name, "unreadable")
    asked = text(parts.get(name))
    if key == FUNCTION and not all(asked.partition(":")):
        raise ValueError('a function is wanted, e.g. "myapp.ops:healthy"')
    if key == URL and not asked.startswith(("http://", "https://")):
        raise ValueError('a URL is wanted, e.g. "https://status.example.org/database"')
    return asked, _closed(parts, default=True)


def _closed(parts: Mapping[str, Any], default: bool) -> bool:
    if "unreadable" not in parts:
        return default
    if parts["unreadable"] not in _UNREADABLE:
        raise ValueError('unreadable is either "hold" or "go on"')
    return _UNREADABLE[parts["unreadable"]]


def _only(parts: Mapping[str, Any], *known: str) -> None:
    if strange := sorted(set(parts) - set(known)):
        raise ValueError(f"{strange[0]!r} is not known here; there are: {', '.join(known)}")
