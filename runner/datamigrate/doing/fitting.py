"""Whether what a compute function returns fits the columns that it writes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from operator import itemgetter
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from datamigrate.authoring.forms import ComputeRows
from datamigrate.thought.codec import show_key
from datamigrate.words.errors import RowFailed
from datamigrate.words.migration import Key

# what a column of this Python type takes; JSON, arrays and an author's own types are the driver's to judge
_ACCEPTED: dict[type, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    bool: (bool,),
    float: (float, int, Decimal),
    Decimal: (Decimal, int, float),
    bytes: (bytes, bytearray, memoryview),
    datetime: (datetime,),
    date: (date,),
    time: (time,),
    UUID: (UUID,),
}


KeyOf = Callable[[int], Key]
"""The key of the row at a place, for an error to name."""


def wanted_by(form: ComputeRows) -> dict[str, tuple[type, ...]]:
    """The names that a result must have, each with the types it may be of (none: the driver judges)."""
    return {column.name: _accepted(column.type) for column in form.writes}


def _accepted(kind: sa.types.TypeEngine[Any]) -> tuple[type, ...]:
    """Of a type that is another one on some databases, what any of them takes."""
    each = [_accepted_by(one) for one in (kind, *kind._variant_mapping.values())]
    return tuple(dict.fromkeys(t for one in each for t in one)) if all(each) else ()


def _accepted_by(kind: sa.types.TypeEngine[Any]) -> tuple[type, ...]:
    if isinstance(kind, sa.types.TypeDecorator | sa.types.NullType | sa.Enum):
        return ()
    try:
        return _ACCEPTED.get(kind.python_type, ())
    except NotImplementedError:
        return ()


def of_its_row(result: Any) -> Any:
    """What a function has returned for a row, apart from what it makes of the same mapping for the next one."""
    return result.copy() if isinstance(result, dict) else result


def values_of(
    wanted: Mapping[str, tuple[type, ...]], results: Sequence[Any], key_of: KeyOf
) -> list[list[Any]]:
    """The results column by column. Raises RowFailed for one that does not fit."""
    columns = _columns_of(wanted, results)
    if columns is None:
        for i, result in enumerate(results):
            _check_names(wanted, result, key_of(i))
        columns = [[result[name] for result in results] for name in wanted]
    refuse_unfit(wanted, columns, key_of)
    return columns


def refuse_unfit(
    wanted: Mapping[str, tuple[type, ...]], columns: Sequence[Sequence[Any]], key_of: KeyOf
) -> None:
    """Raises RowFailed for a value of which its column does not take the type."""
    for (name, accepted), column in zip(wanted.items(), columns, strict=True):
        if accepted and not all(fits(kind, accepted) for kind in set(map(type, column))):
            i, kind = next((i, type(v)) for i, v in enumerate(column) if not fits(type(v), accepted))
            raise RowFailed(
                f"Row {show_key(key_of(i))}: migrate() returned {kind.__name__} for {name}, "
                f"which takes {accepted[0].__name__}.",
                "Convert it in the script.",
                key_of(i),
            )


def _columns_of(names: Collection[str], results: Sequence[Any]) -> list[list[Any]] | None:
    """At the speed of C; None where one of them has to be looked at, which has other names or is no dictionary."""
    if {*map(type, results)} - {dict} or {*map(len, results)} - {len(names)}:
        return None
    try:
        return [list(map(itemgetter(name), results)) for name in names]
    except KeyError:
        return None


def _check_names(wanted: Mapping[str, tuple[type, ...]], result: Any, key: Key) -> None:
    if not isinstance(result, Mapping):
        raise RowFailed(
            f"Row {show_key(key)}: migrate() returned {type(result).__name__}, not a mapping.",
            f'Return {{"{next(iter(wanted))}": value}}, or None to leave the row alone.',
            key,
        )
    if result.keys() != wanted.keys():
        raise _wrong_columns(wanted, key, set(map(str, result)))


def fits(kind: type, accepted: tuple[type, ...]) -> bool:
    """Whether a column that takes these types takes a value of this one."""
    return kind is type(None) or issubclass(kind, accepted)


def _wrong_columns(wanted: Mapping[str, tuple[type, ...]], key: Key, returned: set[str]) -> RowFailed:
    if unknown := sorted(returned - wanted.keys()):
        said = f"returned {', '.join(unknown)}, which `writes` does not name"
    else:
        said = f"did not return {', '.join(sorted(wanted.keys() - returned))}, which `writes` names"
    return RowFailed(f"Row {show_key(key)}: migrate() {said}.", f"`writes` names {', '.join(wanted)}.", key)
