"""Whether an error speaks of rows, or of what is around them: a lost connection, a missing column, a slip in
the script. Only the former may set a row aside."""

from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, MultipleResultsFound, NoResultFound, SQLAlchemyError, StatementError

from datamigrate.database.dialects import Dialect
from datamigrate.words.errors import DatamigrateError, RowFailed

_AROUND = (OSError, MemoryError, RecursionError, NameError, ImportError, SyntaxError, NotImplementedError)
_OF_A_VALUE = (StatementError, NoResultFound, MultipleResultsFound)


def blames_rows(dialect: Dialect, error: BaseException) -> bool:
    """Whether some row of the batch is at fault, so that the others may do without it."""
    if isinstance(error, DatamigrateError):
        return isinstance(error, RowFailed)
    told = [one for one in _and_its_causes(error) if isinstance(one, DBAPIError)]
    return dialect.blames_rows(told[0]) if told else may_be_a_rows(error)


def may_be_a_rows(error: BaseException) -> bool:
    """Whether what a script's own code raises may come of the row it was given: no other service that is
    down, no name that is not there."""
    return isinstance(error, Exception) and not any(map(_is_around, _and_its_causes(error)))


def _is_around(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        return True
    if isinstance(error, SQLAlchemyError):
        return not isinstance(error, _OF_A_VALUE)
    return isinstance(error, (*_AROUND, DatamigrateError))


def _and_its_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
