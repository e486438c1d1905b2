"""`[tool.datamigrate.throttle]`: thresholds, whom to ask, and every mistake told without what may be secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datamigrate.faces.config import configuration_from
from datamigrate.thought.health import DEFAULT_GUARDS, Guard, Throttle
from datamigrate.words.errors import ConfigurationError

DEFAULTS = {guard.signal: guard for guard in DEFAULT_GUARDS}


def throttle(value: Any) -> Throttle:
    return configuration_from({"throttle": value}, Path("/project"), "file").throttle


def guards(**table: Any) -> dict[str, Guard]:
    return {guard.signal: guard for guard in throttle(table).guards}


def refusal(value: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        throttle(value)
    return str(caught.value)


def test_unless_told_otherwise_what_is_dangerous_is_watched_and_what_cannot_be_read_is_passed_over() -> None:
    assert guards() == DEFAULTS
    assert set(DEFAULTS) == {"replica_lag", "lock_waits", "xmin_age", "wal_size", "others"}
    assert not any(guard.closed for guard in DEFAULT_GUARDS if not guard.slows)


def test_others_slow_it_down_from_the_first_one_on_and_also_when_they_cannot_be_seen() -> None:
    assert DEFAULTS["others"] == Guard("others", 0, 0, closed=True, slows=True)
    assert guards(others=8)["others"] == Guard("others", 8, 4, closed=True, slows=True)
    assert guards(others={"unreadable": "go on"})["others"] == Guard("others", 0, 0, slows=True)
    assert "others" not in guards(others=False)


@pytest.mark.parametrize(
    ("key", "setting", "high"),
    [
        ("replica_lag", "1m", 60),
        ("replica_lag", 3, 3),
        ("wal_rate", "64MB", 64 * 1024**2),
        ("wal_size", 4096, 4096),
        ("archive_backlog", 8, 8),
        ("lock_waits", 4, 4),
        ("active_sessions", 50, 50),
        ("xmin_age", 1_000_000, 1_000_000),
        ("dead_rows", 1e6, 1e6),
        ("pool_wait", "500ms", 0.5),
    ],
)
def test_a_threshold_alone_lets_it_go_on_at_half_of_it(key: str, setting: Any, high: float) -> None:
    assert guards(**{key: setting}) == DEFAULTS | {key: Guard(key, high, high / 2)}


def test_both_ends_and_what_is_done_without_a_reading_can_be_said() -> None:
    said = guards(replica_lag={"high": "1m", "low": "10s", "unreadable": "hold"})
    assert said["replica_lag"] == Guard("replica_lag", 60, 10, closed=True)
    assert guards(xmin_age={"unreadable": "hold"})["xmin_age"] == Guard("xmin_age", 5e7, 2.5e7, closed=True)


def test_any_of_them_or_all_can_be_left_unwatched() -> None:
    assert set(guards(replica_lag=False)) == set(DEFAULTS) - {"replica_lag"}
    assert throttle(False).guards == ()


def test_vacuum_is_on_or_off() -> None:
    assert guards(autovacuum=True)["autovacuum"] == Guard("autovacuum", 0, 0)
    assert "autovacuum" not in guards(autovacuum=False)


def test_who_is_asked_holds_it_back_also_by_not_answering_unless_told_otherwise() -> None:
    found = throttle("myapp.ops:healthy")
    assert found == throttle({"function": "myapp.ops:healthy"})
    assert (found.function, found.guards[-1]) == ("myapp.ops:healthy", Guard("function", 0, 0, closed=True))
    found = throttle({"url": {"get": "https://h.example.org/ok", "unreadable": "go on"}})
    assert (found.url, found.guards[-1]) == ("https://h.example.org/ok", Guard("url", 0, 0))


def test_how_often_and_how_long_is_in_seconds() -> None:
    found = throttle({"every": "5s", "patience": 1, "lag_query": "SELECT 1"})
    assert (found.every, found.patience, found.lag_query) == (5.0, 1.0, "SELECT 1")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"replica_lags": 1}, "Did you mean 'replica_lag'?"),
        ({"colour": 1}, "Known are: active_sessions, archive_backlog,"),
        ({"lock_waits": "many"}, "[tool.datamigrate.throttle] lock_waits: a number is wanted"),
        ({"lock_waits": 10**400}, "lock_waits: "),
        ({"lock_waits": True}, "a number is wanted"),
        ({"replica_lag": "soon"}, "1h30m"),
        ({"wal_size": "big"}, "64MB"),
        ({"wal_rate": []}, "a size is wanted"),
        ({"dead_rows": {"low": 1}}, "high is wanted"),
        ({"dead_rows": {"high": 1, "low": 2}}, "low must not be above high"),
        ({"dead_rows": {"hihg": 1}}, "'hihg' is not known here; there are: high, low, unreadable"),
        ({"dead_rows": {"high": 1, "unreadable": "closed"}}, 'unreadable is either "hold" or "go on"'),
        ({"autovacuum": 1}, "true or false is wanted"),
        ({"function": "myapp"}, '"myapp.ops:healthy"'),
        ({"function": {"unreadable": "hold"}}, "a text is wanted"),
        ({"url": "ftp://example.org"}, "a URL is wanted"),
        ({"every": 0}, "greater than nought"),
        (1, "a table is wanted"),
        (True, "a table is wanted"),
        ("myapp", '"myapp.ops:healthy"'),
    ],
)
def test_a_mistake_is_told_with_what_is_wanted(value: Any, told: str) -> None:
    assert told in refusal(value)
    assert refusal(value).startswith("file: [tool.datamigrate")


def test_no_secret_of_a_url_is_repeated() -> None:
    assert "geheim" not in refusal({"url": "htps://user:geheim@example.org"})
