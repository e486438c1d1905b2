"""A type as it is on one database, down to what the driver is given: a script's may be another one there, decorate one, or
be an array of one."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import DOMAIN

Kind = sa.types.TypeEngine[Any]


def changed(kind: Kind, dialect: sa.Dialect, change: Callable[[Kind], Kind]) -> Kind:
    """The type with this change made to what it is in the end; what decorates that is kept."""
    kind = kind._variant_mapping.get(dialect.name, kind)
    if isinstance(kind, DOMAIN) and not isinstance(kind.data_type, sa.types.NullType):
        return changed(kind.data_type, dialect, change)
    if isinstance(kind, sa.ARRAY):
        return kind.adapt(type(kind), item_type=changed(kind.item_type, dialect, change))
    if isinstance(kind, sa.TypeDecorator):
        return _decorated(changed(kind.load_dialect_impl(dialect), dialect, change), kind)
    return change(kind)


def _decorated(kind: Kind, decorator: sa.TypeDecorator[Any]) -> Kind:
    alike = decorator.copy()
    alike.impl = alike.impl_instance = kind
    # it may choose one itself
    alike.load_dialect_impl = lambda _: kind  # type: ignore[assignment, method-assign]
    return alike
