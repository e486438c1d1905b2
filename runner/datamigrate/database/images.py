"""Values as one text, and back again exactly as they were: what the undo log keeps of a row.

An image is a JSON array with an element for each column. PostgreSQL writes each value as its own type's text,
and reads it back by the column's type; `uncast` are the columns of types for which somebody has made casts, which may
tell one value as another. SQLite, whose values have types of their own, puts `t` before a text;
what JSON does not hold exactly is written in hexadecimal: `b` a blob, `n` a text with a NUL in it, `r` a real.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa

EXACT = (
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
)
"""What PostgreSQL's texts depend on: with these, no value is rounded and none can be read in two ways."""


def image(
    dialect: str, columns: Mapping[str, sa.ColumnElement[Any]], uncast: Collection[str] = ()
) -> sa.ColumnElement[str]:
    """The values of columns, by their names, as one text."""
    if dialect == "sqlite":
        return sa.func.json_array(*(_packed(column) for column in columns.values()), type_=sa.Text())
    texts = (_written(c) if name in uncast else sa.cast(c, sa.Text()) for name, c in columns.items())
    return sa.cast(sa.func.json_build_array(*texts), sa.Text())


def value(
    dialect: str,
    text: sa.ColumnElement[Any],
    position: int,
    kind: sa.types.TypeEngine[Any],
    is_uncast: bool = False,
) -> sa.ColumnElement[Any]:
    """The value at a position, from 0, of an image, as the type that its column has."""
    if dialect == "sqlite":
        return _unpacked(sa.func.json_extract(text, f"$[{position}]", type_=sa.types.NullType()))
    element = sa.cast(text, sa.JSON()).op("->>", return_type=sa.Text())(sa.literal_column(str(position)))
    return _read(element, kind) if is_uncast else sa.cast(element, kind)


def exactly() -> sa.Select[Any]:
    """A SELECT that lets PostgreSQL write texts that are read back as they were, in this transaction."""
    return sa.select(*(sa.func.set_config(name, value, True).label(name) for name, value in EXACT))


def timezone() -> sa.Select[Any]:
    """Where PostgreSQL's clocks stand, which the text of a moment depends on; so do a script's own expressions, and so it
    is kept and not chosen."""
    return sa.select(sa.func.current_setting("timezone"))


def _written(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A value as its type itself writes it."""
    # IS NULL says so of a row of NULLs as well
    return sa.case((sa.func.num_nulls(column) == 0, sa.func.format("%s", column)))


def _read(text: sa.ColumnElement[Any], kind: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
    """A value as its type itself reads it."""
    alone = sa.func.json_to_record(sa.func.json_build_object("value", text))
    record = alone.table_valued(sa.column("value", kind)).render_derived("datamigrate_read", with_types=True)
    return sa.select(record.c.value).scalar_subquery()


def _packed(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    raw = sa.type_coerce(column, sa.types.NullType())
    kind = sa.func.typeof(raw)
    return sa.case(
        (kind == "blob", sa.literal("b").concat(sa.func.hex(raw))),
        (kind == "real", sa.func.datamigrate_packed(raw, type_=sa.types.NullType())),
        (
            sa.and_(kind == "text", sa.func.instr(raw, sa.func.char(0)) > 0),
            sa.literal("n").concat(sa.func.hex(raw)),
        ),
        (kind == "text", sa.literal("t").concat(raw)),
        else_=raw,
    )


def _unpacked(element: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    tag = sa.func.substr(element, 1, 1)
    unpacked = sa.func.datamigrate_unpacked(element, type_=sa.types.NullType())
    return sa.case(
        (sa.func.typeof(element) != "text", element),
        (tag == "t", sa.func.substr(element, 2, type_=sa.types.NullType())),
        (tag == "n", sa.cast(unpacked, sa.Text())),
        else_=unpacked,
    )


def _pack(real: float) -> str:
    return f"r{real.hex()}"


def _unpack(element: str) -> float | bytes:
    return float.fromhex(element[1:]) if element[0] == "r" else bytes.fromhex(element[1:])


FUNCTIONS: Mapping[str, Callable[..., Any]] = {"datamigrate_packed": _pack, "datamigrate_unpacked": _unpack}
"""What SQLite has to be lent for all this."""


def shown(dialect: str, text: str) -> str:
    """An image for a person: `42`, or `(7, a)` for several columns."""
    values = (v[1:] if dialect == "sqlite" and isinstance(v, str) else v for v in json.loads(text))
    told = ["NULL" if v is None else str(v) for v in values]
    return told[0] if len(told) == 1 else f"({', '.join(told)})"
