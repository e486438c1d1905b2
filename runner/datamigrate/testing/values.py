"""Values for a column of any type: the n-th one is always the same, and unlike the others where that matters."""

import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

TEXTS = ("Ada", "Grace Hopper", " spaces ", "MiXed Case", "Zoë Ünïcode", "o'Neil", "a+b@Example.ORG", "")
NUMBERS = (1, 0, 7, 42, 3, 1000)
DAYS = tuple(datetime.date(*ymd) for ymd in ((2020, 1, 1), (2024, 2, 29), (1999, 12, 31), (2040, 6, 15)))
HEX, DASHED = 32, 36
STEP = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Spreads identifiers over their whole space."""


def value_for(type_: sa.types.TypeEngine[Any], n: int, unique: bool) -> Any:
    """The n-th value of a type. Raises KeyError for a type that is not known, ValueError where there are no
    more values."""
    if isinstance(values := getattr(type_, "enums", None), list | tuple):
        return values[n % len(values)] if not unique or n < len(values) else _no_more()
    if (inner := getattr(type_, "data_type", None)) is not None:  # a domain
        return value_for(inner, n, unique)
    for kind, make in _KINDS.items():
        if isinstance(type_, kind):
            return make(type_, n, unique)
    if type(type_).__name__ in _NAMED:
        return _NAMED[type(type_).__name__](n)
    raise KeyError(str(type_))


def _text(type_: Any, n: int, unique: bool) -> str:
    if type_.length in (HEX, DASHED) and isinstance(type_, sa.CHAR):
        identifier = _uuid(n)
        return identifier.hex if type_.length == HEX else str(identifier)
    base, longest = TEXTS[n % len(TEXTS)], type_.length or 1_000_000
    if not unique:
        return base[:longest]
    number = str(n)
    return base[: longest - len(number)] + number if len(number) <= longest else _no_more()


def _integer(_type: Any, n: int, unique: bool) -> int:
    return n + 1 if unique else NUMBERS[n % len(NUMBERS)]


def _numeric(type_: Any, n: int, unique: bool) -> Any:
    scale = 2 if type_.scale is None else type_.scale
    most = Decimal(10) ** ((type_.precision or 12) - scale)
    value = Decimal(n + 1 if unique else NUMBERS[n % len(NUMBERS)]) + Decimal(n % 4) / 4
    value = value if value < most else value % most
    return round(value, scale) if type_.asdecimal else float(value)


def _boolean(_type: Any, n: int, unique: bool) -> bool:
    return n % 2 == 0 if not unique or n < 2 else _no_more()


def _date(_type: Any, n: int, unique: bool) -> datetime.date:
    return DAYS[0] + datetime.timedelta(days=n) if unique else DAYS[n % len(DAYS)]


def _datetime(type_: Any, n: int, unique: bool) -> datetime.datetime:
    zone = datetime.UTC if type_.timezone else None
    moment = datetime.datetime.combine(_date(type_, n, unique), datetime.time(12, 30), zone)
    return moment + datetime.timedelta(seconds=n)


def _time(_type: Any, n: int, _unique: bool) -> datetime.time:
    return datetime.time(n // 3600 % 24, n // 60 % 60, n % 60)


def _uuid(n: int) -> uuid.UUID:
    return uuid.UUID(int=(n + 1) * STEP % 2**128, version=4)


def _identifier(type_: Any, n: int, _unique: bool) -> Any:
    return _uuid(n) if type_.as_uuid else str(_uuid(n))


def _array(type_: Any, n: int, unique: bool) -> list[Any]:
    return [value_for(type_.item_type, n, unique)]


def _no_more() -> Any:
    raise ValueError("there are no more values")


# the first that fits counts, so that what is derived comes before what it is derived from
_KINDS: dict[type[Any], Callable[[Any, int, bool], Any]] = {
    sa.Boolean: _boolean,
    sa.Uuid: _identifier,
    sa.Integer: _integer,
    sa.Float: lambda _type, n, unique: float(n) + 0.5 if unique else NUMBERS[n % len(NUMBERS)] / 4,
    sa.Numeric: _numeric,
    sa.DateTime: _datetime,
    sa.Date: _date,
    sa.Time: _time,
    sa.Interval: lambda _type, n, _unique: datetime.timedelta(minutes=n),
    sa.LargeBinary: lambda _type, n, _unique: n.to_bytes(4, "big"),
    sa.JSON: lambda _type, n, _unique: {"n": n},
    sa.ARRAY: _array,
    sa.String: _text,
}
_NAMED: dict[str, Callable[[int], Any]] = {
    "INTERVAL": lambda n: datetime.timedelta(minutes=n),
    "BYTEA": lambda n: n.to_bytes(4, "big"),
    "NullType": str,  # SQLite keeps whatever it is given in a column without a type
}
