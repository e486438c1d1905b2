"""Time by the database's clock, never by a host's."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_SQLITE_FORMAT = "%Y-%m-%d %H:%M:%f"


class Instant(sa.types.TypeDecorator[datetime]):
    """A moment with its time zone; SQLite keeps it as UTC text that sorts."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Text on SQLite, `timestamptz` elsewhere."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """The text that SQLite's own clock would give."""
        if value is None or dialect.name != "sqlite":
            return value
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03}"

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """An aware datetime in UTC."""
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return value.astimezone(UTC) if value is not None else None


class now(FunctionElement[datetime]):
    """This moment, not the beginning of the transaction."""

    inherit_cache = True
    type = Instant()
    name = "now"


class ago(FunctionElement[datetime]):
    """So many seconds before this moment."""

    inherit_cache = True
    type = Instant()
    name = "ago"


@compiles(now, "postgresql")
def _now_postgresql(_element: Any, _compiler: SQLCompiler, **_: Any) -> str:
    return "clock_timestamp()"


@compiles(now, "sqlite")
def _now_sqlite(_element: Any, _compiler: SQLCompiler, **_: Any) -> str:
    return f"strftime('{_SQLITE_FORMAT}', 'now')"


@compiles(ago, "postgresql")
def _ago_postgresql(element: ago, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() - make_interval(secs => CAST({seconds} AS double precision)))"


@compiles(ago, "sqlite")
def _ago_sqlite(element: ago, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('{_SQLITE_FORMAT}', 'now', '-' || {seconds} || ' seconds')"
