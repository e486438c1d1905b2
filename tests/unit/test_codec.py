"""Keys as text: whatever a driver gives comes back as it was, and nothing else is accepted."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datamigrate.thought.codec import VERSION, decode_key, encode_key, show_key
from datamigrate.words.errors import KeyUnfit
from datamigrate.words.migration import Key

offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
values = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.datetimes(timezones=st.none() | st.just(UTC) | offsets),
    st.dates(),
    st.times(timezones=st.none() | offsets),
)
keys = st.lists(values, max_size=4).map(tuple)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
tags = st.sampled_from(["int", "float", "str", "bytes", "uuid", "decimal", "datetime", "date", "time"])
almost_keys = st.fixed_dictionaries(
    {
        "v": st.sampled_from([VERSION, 0, 2, "1", None]) | anything,
        "key": st.lists(st.tuples(tags | st.text(), anything)) | anything,
    }
)


class Colour(StrEnum):
    RED = "red"


class OldColour(str, Enum):  # noqa: UP042 # its str() is "OldColour.RED"
    RED = "red"


class DriversUuid(UUID):
    """As asyncpg has one."""


def stored(*parts: Any, version: Any = VERSION) -> str:
    return json.dumps({"v": version, "key": list(parts)})


@given(keys)
@example((0, "", b"", Decimal("-0"), Decimal("1E+3"), float("inf")))
@example((datetime(2026, 3, 29, 2, 30, fold=1), date(1, 1, 1), time(23, 59, 59, 999999)))
@example(("\ud800 \0 \u2028 é",))
def test_a_key_comes_back_as_it_was(key: Key) -> None:
    back = decode_key(encode_key(key))
    assert back == key
    assert [type(value) for value in back] == [type(value) for value in key]
    assert encode_key(back) == encode_key(key)


@pytest.mark.parametrize("number", [float("nan"), Decimal("NaN"), Decimal("sNaN")])
def test_what_is_not_a_number_comes_back_as_well(number: Any) -> None:
    text = encode_key((number,))
    assert encode_key(decode_key(text)) == text


def test_a_float_keeps_every_bit() -> None:
    assert decode_key(encode_key((0.1 + 0.2,))) == (0.1 + 0.2,)


def test_a_negative_zero_keeps_its_sign() -> None:
    assert str(decode_key(encode_key((-0.0,)))[0]) == "-0.0"


def test_the_stored_form_is_this_one() -> None:
    key = (
        42,
        "a'b",
        UUID("12345678-1234-5678-1234-567812345678"),
        Decimal("1.50"),
        b"\x00\xff",
        date(2026, 11, 22),
        datetime(2026, 11, 22, 10, 4, 5, 6, UTC),
        time(10, 4),
        0.5,
    )
    assert encode_key(key) == (
        '{"v":1,"key":[["int","42"],["str","a\'b"],["uuid","12345678-1234-5678-1234-567812345678"],'
        '["decimal","1.50"],["bytes","AP8="],["date","2026-11-22"],'
        '["datetime","2026-11-22T10:04:05.000006+00:00"],["time","10:04:00"],["float","0x1.0000000000000p-1"]]}'
    )


def test_a_datetime_is_not_taken_for_a_date() -> None:
    assert encode_key((datetime(2026, 11, 22),)) == '{"v":1,"key":[["datetime","2026-11-22T00:00:00"]]}'


def test_a_drivers_own_uuid_is_a_uuid() -> None:
    plain = UUID(int=7)
    assert encode_key((DriversUuid(int=7),)) == encode_key((plain,))
    assert type(decode_key(encode_key((DriversUuid(int=7),)))[0]) is UUID


@pytest.mark.parametrize("colour", [Colour.RED, OldColour.RED])
def test_an_enumeration_of_texts_is_stored_as_its_text(colour: str) -> None:
    assert decode_key(encode_key((colour,))) == ("red",)


@pytest.mark.parametrize(
    "value", [True, False, None, object(), [1], (1,), {"a": 1}, {1}, 1j, timedelta(1), memoryview(b"a")]
)
def test_a_value_that_no_cursor_can_hold_is_refused(value: Any) -> None:
    with pytest.raises(KeyUnfit, match=f"of type {type(value).__name__}") as caught:
        encode_key((1, value))
    assert "integer, text, UUID" in caught.value.hint


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_another_version_is_refused(version: Any) -> None:
    with pytest.raises(KeyUnfit, match="has version"):
        decode_key(stored(["int", "1"], version=version))


@pytest.mark.parametrize(
    "part",
    [
        ["bool", "True"],
        ["interval", "1"],
        ["", ""],
        [["int"], "1"],
        ["int"],
        ["int", "1", "2"],
        "int",
        7,
        None,
        {"int": "1"},
    ],
)
def test_an_unknown_tag_is_refused(part: Any) -> None:
    with pytest.raises(KeyUnfit, match="cannot be read"):
        decode_key(stored(part))


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("int", 4),
        ("int", 4.7),
        ("int", " 42 "),
        ("int", "4_2"),
        ("int", "0x10"),
        ("int", "9" * 5000),
        ("str", None),
        ("str", 5),
        ("str", True),
        ("bytes", "!!!!"),
        ("bytes", "AP8"),
        ("bytes", "é"),
        ("uuid", 5),
        ("uuid", None),
        ("uuid", "{12345678123456781234567812345678}"),
        ("decimal", True),
        ("decimal", [0, [1], 0]),
        ("decimal", "1,5"),
        ("float", "0.5"),
        ("float", "0x1p99999"),
        ("date", "20261122"),
        ("date", "2026-11-22T00:00:00"),
        ("datetime", "2026-11-22"),
        ("datetime", "2026-11-22T00:00:00Z"),
        ("time", "25:00:00"),
    ],
)
def test_a_value_that_was_not_written_like_this_is_refused(tag: str, value: Any) -> None:
    with pytest.raises(KeyUnfit, match="cannot be read"):
        decode_key(stored([tag, value]))


@pytest.mark.parametrize(
    "text", ["", "42", "null", "[]", '"v"', "{}", '{"v":1}', '{"v":1,"key":1}', "{" * 9999]
)
def test_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(KeyUnfit):
        decode_key(text)


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(KeyUnfit):
        decode_key("[" * depth + "]" * depth)


@given(st.text() | anything.map(json.dumps) | almost_keys.map(json.dumps))
def test_reading_text_gives_a_key_or_says_that_it_cannot(text: str) -> None:
    try:
        key = decode_key(text)
    except KeyUnfit:
        return
    assert json.loads(encode_key(key))["key"] == [list(part) for part in json.loads(text)["key"]]


def test_a_long_text_is_not_repeated_in_full() -> None:
    with pytest.raises(KeyUnfit) as caught:
        decode_key("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ((42,), "42"),
        (("a",), "'a'"),
        ((7, "it's"), '(7, "it\'s")'),
        ((b"\x00",), "b'\\x00'"),
        ((UUID(int=1),), "00000000-0000-0000-0000-000000000001"),
        ((Decimal("1.50"), date(2026, 11, 22)), "(1.50, 2026-11-22)"),
        ((), "()"),
    ],
)
def test_a_key_is_shown_to_a_person(key: Key, shown: str) -> None:
    assert show_key(key) == shown
