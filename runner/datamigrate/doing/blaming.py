"""Whether an error speaks of rows, or of what is around them: a lost connection, a missing column, a slip in
the script. Only the former may set a row aside."""

from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, MultipleResultsFound, NoResultFound, SQLAlchemyError, StatementError

from datamigrate.database.dialects import Dialect
from datamigrate.words.errors import DatamigrateError, RowFailed

_AROUND = (OSError, MemoryError, RecursionError, NameError, ImportError, SyntaxError, NotImplementedError)
_OF_A_VALUE = (StatementError, NoResultFound, MultipleResultsFound)


def blames_rows(dialect: Dialect, error: BaseException) -> bool:
    """Whether some row of the batch is at fault, so that the others may do without it; for a group of errors, whether
    all of them are a row's."""
    if isinstance(error, BaseExceptionGroup):
        return all(blames_rows(dialect, one) for one in error.exceptions)
    if isinstance(error, DatamigrateError):
        return isinstance(error, RowFailed)
    told = [one for one in _and_its_causes(error) if isinstance(one, DBAPIError)]
    return dialect.blames_rows(told[0]) if told else may_be_a_rows(error)


def may_be_a_rows(error: BaseException) -> bool:
    """Whether what a script's own code raises may come of the row it was given: no other service that is
    down, no name that is not there, in a group of errors neither."""
    return isinstance(error, Exception) and not any(map(_is_around, _and_its_causes(error)))


def _is_around(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        return True
    if isinstance(error, SQLAlchemyError):
        return not isinstance(error, _OF_A_VALUE)
    return isinstance(error, (*_AROUND, DatamigrateError))


def _and_its_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it is a group of, and what led to it, the nearest first."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left.append(one.__cause__ or (None if one.__suppress_context__ else one.__context__))
        if isinstance(one, BaseExceptionGroup):
            left.extend(reversed(one.exceptions))
