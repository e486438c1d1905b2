"""A column's values on their way to PostgreSQL, joined into one text, of which the server makes an array again.

To write an array value by value takes the driver several times as long, and the server no less to read it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

# what ASCII separates units with, and records
SEPARATOR, NULL = "\x1f", "\x1e"

Joining = Callable[[Sequence[Any]], str]
"""Makes one text of values. Raises NotJoined."""


class XID(sa.types.UserDefinedType[int]):
    """A transaction's number, as the system columns have it: to the driver an integer."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_kw: Any) -> str:
        """Its name on the server."""
        return "xid"


class NotJoined(Exception):
    """Values that could not be told apart in one text, or are not what they should be."""


def joining_of(kind: sa.types.TypeEngine[Any]) -> Joining | None:
    """How values of this type are joined; None where something else is made of each first, or may be: a type with
    a variant is another one here."""
    if "postgresql" in kind._variant_mapping:
        return None
    if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum):
        return joined_texts
    return joined_numbers if isinstance(kind, sa.Integer | XID) else None


def joined_texts(values: Sequence[Any]) -> str:
    """Texts as they are."""
    return _joined(values, [NULL if value is None else value for value in values])


def joined_numbers(values: Sequence[Any]) -> str:
    """Whole numbers in digits."""
    try:
        return _joined(values, [NULL if value is None else int.__repr__(value) for value in values])
    except TypeError as error:
        raise NotJoined from error


def array_of(name: str, kind: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
    """The array of the values of this type whose text is the parameter of this name."""
    text, marks = sa.bindparam(name, type_=sa.Text()), (f"chr({ord(mark)})" for mark in (SEPARATOR, NULL))
    array = sa.func.string_to_array(text, *map(sa.literal_column, marks))
    return sa.cast(array, postgresql.ARRAY(kind, dimensions=1))


def _joined(values: Sequence[Any], told: list[str]) -> str:
    try:
        text = SEPARATOR.join(told)
    except TypeError as error:
        raise NotJoined from error
    # and of an empty text there would be made no value, and not an empty one
    if not text or text.count(SEPARATOR) != len(told) - 1 or text.count(NULL) != values.count(None):
        raise NotJoined
    return text
