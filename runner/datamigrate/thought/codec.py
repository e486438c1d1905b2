"""Keys as text that outlives the process: tagged, versioned JSON.

`{"v": 1, "key": [["int", "42"], ["uuid", "..."]]}`. A tag or version that is not known is refused:
resuming at a misread key would lose rows.
"""

import base64
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from datamigrate.words.errors import KeyUnfit
from datamigrate.words.infinity import InfiniteDate, InfiniteMoment, infinite_day, infinite_moment
from datamigrate.words.migration import Key, KeyValue

VERSION = 1

_Encode = Callable[[Any], str]
_Decode = Callable[[str], KeyValue]


def _end_of_moments(end: datetime) -> str:
    return f"{end}{'Z' if end.tzinfo else ''}"


def _moment_at_the_end(text: str) -> datetime:
    return infinite_moment(not text.startswith("-"), UTC if text.endswith("Z") else None)


def _day_at_the_end(text: str) -> date:
    return infinite_day(not text.startswith("-"))


# The nearest ancestor counts: drivers bring their own UUID, and a datetime must not be taken for a date.
_TAGS: dict[type, tuple[str, _Encode, _Decode]] = {
    int: ("int", int.__repr__, int),
    float: ("float", float.hex, float.fromhex),
    str: ("str", str.__str__, str),
    bytes: ("bytes", lambda v: base64.b64encode(v).decode(), base64.b64decode),
    UUID: ("uuid", str, UUID),
    Decimal: ("decimal", str, Decimal),
    InfiniteMoment: ("infinite moment", _end_of_moments, _moment_at_the_end),
    InfiniteDate: ("infinite date", InfiniteDate.isoformat, _day_at_the_end),
    datetime: ("datetime", datetime.isoformat, datetime.fromisoformat),
    date: ("date", date.isoformat, date.fromisoformat),
    time: ("time", time.isoformat, time.fromisoformat),
}
_DECODERS = {tag: decode for tag, _, decode in _TAGS.values()}


def encode_key(key: Key) -> str:
    """The key as text. Raises KeyUnfit for a value of a type that no cursor can hold."""
    return json.dumps({"v": VERSION, "key": [_tagged(value) for value in key]}, separators=(",", ":"))


def decode_key(text: str) -> Key:
    """The key that `encode_key` was given. Raises KeyUnfit for text that it did not write."""
    try:
        stored = json.loads(text)
        if stored["v"] != VERSION:
            raise KeyUnfit(f"The stored cursor has version {stored['v']!r}; this program reads {VERSION}.")
        return tuple(_untagged(tag, value) for tag, value in stored["key"])
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise KeyUnfit(f"The stored cursor {text[:80]!r} cannot be read.") from error


def show_key(key: Key) -> str:
    """The key for a person: `42`, or `(7, 'a')` for several columns."""
    shown = [_shown(value) for value in key]
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"


def _tagged(value: KeyValue) -> list[str]:
    exact = next((base for base in type(value).__mro__ if base in _TAGS), None)
    if exact is None or isinstance(value, bool):
        raise KeyUnfit(
            f"A key of type {type(value).__name__} cannot be kept in a cursor.",
            "Keys can be integer, text, UUID, date, time, decimal or bytes columns, or several of them.",
        )
    tag, encode, _ = _TAGS[exact]
    return [tag, encode(value)]


def _untagged(tag: str, text: str) -> KeyValue:
    # a value that would be written otherwise was not written by `_tagged`
    if not isinstance(text, str) or _tagged(value := _DECODERS[tag](text)) != [tag, text]:
        raise ValueError(f"{text!r} is no {tag}")
    return value


def _shown(value: KeyValue) -> str:
    return repr(value) if isinstance(value, str | bytes) else str(value)
