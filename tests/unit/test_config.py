"""`[tool.datamigrate]`: every key, and every mistake told with file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.database.dialects.base import Timeouts
from datamigrate.doing.settings import Settings
from datamigrate.faces.config import Configuration, configuration_from, read_configuration
from datamigrate.faces.notifying import Notify
from datamigrate.thought.agenda import Timetable
from datamigrate.thought.health import Throttle
from datamigrate.thought.pacing import Limits
from datamigrate.words.errors import ConfigurationError

ROOT = Path("/project")
FILE = "/project/pyproject.toml"
NIGHT = "22:00-06:00 Europe/Berlin"

KEYS: dict[str, tuple[Any, Any]] = {
    "scripts": ("data", Configuration(ROOT, scripts="data")),
    "schema": ("ops", Configuration(ROOT, schema="ops")),
    "engine": ("myapp.db:engine", Configuration(ROOT, engine="myapp.db:engine")),
    "lint_since": ("8a6ada1e0883", Configuration(ROOT, lint_since="8a6ada1e0883")),
    "throttle": (False, Configuration(ROOT, throttle=Throttle(guards=()))),
    "notify": ({"command": "tell --now"}, Configuration(ROOT, notify=Notify(command=("tell", "--now")))),
    "first_batch_size": (50, Settings(first_rows=50)),
    "max_batch_size": (2000, Settings(limits=Limits(max_rows=2000))),
    "target_time": ("250ms", Settings(limits=Limits(target_time=0.25))),
    "pause": (0.5, Settings(pause=0.5)),
    "max_pause": ("2s", Settings(max_pause=2.0)),
    "nice": (0.25, Settings(nice=0.25)),
    "lock_timeout": ("2s", Settings(timeouts=Timeouts(lock=2.0))),
    "statement_timeout": ("1m", Settings(timeouts=Timeouts(statement=60.0))),
    "idle_timeout": ("2m", Settings(timeouts=Timeouts(idle=120.0))),
    "claim_expiry": (90, Settings(claim_expiry=90.0)),
    "max_sweeps": (2, Settings(max_sweeps=2)),
    "max_attempts": (3, Settings(max_attempts=3)),
    "max_deaths": (5, Settings(max_deaths=5)),
    "window": (NIGHT, Configuration(ROOT, timetable=Timetable(window=NIGHT))),
    "timezone": ("Asia/Tokyo", Configuration(ROOT, timetable=Timetable(zone="Asia/Tokyo"))),
    "max_connections": (4, Settings(max_connections=4)),
    "synchronous_commit": (True, Settings(durable_batches=True)),
}
TEXTS = ["scripts", "schema", "engine", "lint_since", "window", "timezone"]
COUNTS = ["first_batch_size", "max_batch_size", "max_sweeps", "max_attempts", "max_deaths"]
COUNTS = ["first_batch_size", "max_batch_size", "max_sweeps", "max_attempts", "max_connections"]
DURATIONS = ["target_time", "pause", "lock_timeout", "statement_timeout", "idle_timeout", "claim_expiry"]


def configuration(**table: Any) -> Configuration:
    return configuration_from(table, ROOT, FILE)


def refusal(**table: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        configuration(**table)
    return caught.value


def project(directory: Path, text: str | bytes) -> Path:
    (directory / "pyproject.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return directory


def test_an_empty_table_means_the_defaults() -> None:
    found = configuration()
    assert found == Configuration(root=ROOT)
    assert (found.scripts, found.schema, found.engine) == ("datamigrations", None, None)
    assert found.settings == Settings()


def test_the_defaults_are_these() -> None:
    settings = Settings()
    assert (settings.first_rows, settings.pause, settings.claim_expiry) == (500, 0.0, 30.0)
    assert (settings.max_sweeps, settings.max_attempts, settings.durable_batches) == (5, 10, False)
    assert (settings.limits.target_time, settings.limits.max_rows) == (0.5, None)
    assert (settings.timeouts.lock, settings.timeouts.statement, settings.timeouts.idle) == (5.0, 30.0, 60.0)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_changes_what_it_names_and_nothing_else(key: str) -> None:
    value, expected = KEYS[key]
    if isinstance(expected, Settings):
        expected = Configuration(ROOT, settings=expected)
    assert configuration(**{key: value}) == expected


def test_keys_can_be_combined() -> None:
    found = configuration(lock_timeout=1, statement_timeout=2, target_time=3, max_batch_size=4)
    assert found.settings.timeouts == Timeouts(1.0, 2.0)
    assert found.settings.limits == Limits(target_time=3.0, max_rows=4)


def test_the_unknown_key_message_lists_every_key() -> None:
    error = refusal(colour="red")
    assert error.message == f"{FILE}: [tool.datamigrate] has an unknown key 'colour'."
    assert error.hint == f"Known are: {', '.join(sorted(KEYS))}."


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("script", "scripts"), ("max_batchsize", "max_batch_size"), ("lock-timeout", "lock_timeout")],
)
def test_a_misspelt_key_is_told_from_one_that_is_meant(misspelt: str, meant: str) -> None:
    assert refusal(**{misspelt: 1}).hint == f"Did you mean {meant!r}?"


@pytest.mark.parametrize("key", TEXTS)
@pytest.mark.parametrize("value", ["", 1, True, [], {}, 1.5])
def test_a_text_is_wanted(key: str, value: Any) -> None:
    message = refusal(**{key: value}).message
    assert message == f"{FILE}: [tool.datamigrate] {key} = {value!r}: a text is wanted"


@pytest.mark.parametrize("key", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True, []])
def test_a_whole_number_greater_than_nought_is_wanted(key: str, value: Any) -> None:
    assert "a whole number greater than nought is wanted" in refusal(**{key: value}).message


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize("value", [True, [], {}])
def test_a_duration_is_wanted(key: str, value: Any) -> None:
    assert "a duration is wanted" in refusal(**{key: value}).message


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize("value", [-1, -0.5, float("inf"), float("nan"), 10**400, "9" * 400])
def test_a_duration_is_neither_negative_nor_without_end(key: str, value: Any) -> None:
    assert f"{key} = " in refusal(**{key: value}).message


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize("value", ["soon", "", "-5s"])
def test_a_duration_that_cannot_be_read_is_told_with_examples(key: str, value: str) -> None:
    assert "1h30m" in refusal(**{key: value}).message


@pytest.mark.parametrize("key", sorted(set(DURATIONS) - {"pause"}))
@pytest.mark.parametrize("value", [0, 0.0, "0s"])
def test_nought_will_do_for_a_pause_only(key: str, value: Any) -> None:
    assert "greater than nought" in refusal(**{key: value}).message
    assert configuration(pause=value).settings.pause == 0


@pytest.mark.parametrize(
    ("value", "seconds"), [(0.00001, 0.00001), (1, 1.0), ("90", 90.0), ("1h30m", 5400.0)]
)
def test_a_duration_is_a_number_of_seconds_or_a_text(value: Any, seconds: float) -> None:
    assert configuration(pause=value).settings.pause == seconds


def test_a_window_and_a_time_zone_are_understood_or_refused() -> None:
    assert "'nights' is no window" in refusal(window="nights").message
    assert "'Middle/Earth' is no time zone" in refusal(timezone="Middle/Earth").message


@pytest.mark.parametrize("value", [0, 1, "yes", "true", []])
def test_true_or_false_is_wanted(value: Any) -> None:
    assert "true or false is wanted" in refusal(synchronous_commit=value).message


scalars = st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes() | st.dates() | st.times()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


@given(st.dictionaries(st.sampled_from(sorted(KEYS)) | st.text(), values, max_size=4))
def test_whatever_stands_there_is_read_or_refused(table: dict[str, Any]) -> None:
    try:
        found = configuration_from(table, ROOT, FILE)
    except ConfigurationError as error:
        assert error.message.startswith(f"{FILE}: ")  # noqa: PT017 # some tables are fine
        return
    assert set(table) <= set(KEYS)
    assert found.root == ROOT


# finding it


def test_without_a_table_anywhere_the_defaults_have_no_root(tmp_path: Path) -> None:
    assert read_configuration(tmp_path) == Configuration()


def test_the_table_is_found_in_the_directory(tmp_path: Path) -> None:
    found = read_configuration(project(tmp_path, '[tool.datamigrate]\nscripts = "data"\n'))
    assert (found.root, found.scripts) == (tmp_path, "data")


def test_the_table_is_found_above_past_files_without_one(tmp_path: Path) -> None:
    project(tmp_path, '[tool.datamigrate]\nscripts = "data"\n')
    below = tmp_path / "package" / "deep"
    below.mkdir(parents=True)
    project(below, '[tool.ruff]\nline-length = 100\n[project]\nname = "x"\n')
    assert read_configuration(below).root == tmp_path


def test_the_nearest_table_counts(tmp_path: Path) -> None:
    project(tmp_path, '[tool.datamigrate]\nscripts = "far"\n')
    below = tmp_path / "below"
    below.mkdir()
    project(below, "[tool.datamigrate]\n")
    assert read_configuration(below) == Configuration(root=below)


def test_a_file_in_any_language_is_read(tmp_path: Path) -> None:
    project(tmp_path, '[project]\ndescription = "größer, 数据"\n[tool.datamigrate]\nschema = "größe"\n')
    assert read_configuration(tmp_path).schema == "größe"


@pytest.mark.parametrize("content", [b"[tool", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        read_configuration(project(tmp_path, content))
    assert str(tmp_path / "pyproject.toml") in caught.value.message


@pytest.mark.parametrize("value", ["1", '"x"', "[]", "true"])
def test_a_value_in_the_tables_place_is_told(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"tool\.datamigrate is not a table"):
        read_configuration(project(tmp_path, f"[tool]\ndatamigrate = {value}\n"))


@pytest.mark.parametrize("value", ["1", '"x"', "[]"])
def test_a_value_in_the_place_of_all_tools_is_none_of_ours(tmp_path: Path, value: str) -> None:
    assert read_configuration(project(tmp_path, f"tool = {value}\n")).settings == Settings()


def test_a_directory_of_that_name_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").mkdir()
    assert read_configuration(tmp_path) == Configuration()


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(project(tmp_path, "[tool.datamigrate]\npause = true\n"))
    assert caught.value.message.startswith(str(tmp_path / "pyproject.toml"))


def test_one_connection_is_not_enough() -> None:
    assert "one to give signs of life" in refusal(max_connections=1).message


@pytest.mark.parametrize(
    ("workers", "most", "connections"), [(1, None, 5), (4, None, 14), (4, 6, 6), (1, 6, 5)]
)
def test_a_run_opens_no_more_connections_than_its_budget(
    workers: int, most: int | None, connections: int
) -> None:
    assert Settings(workers=workers, max_connections=most).connections == connections
