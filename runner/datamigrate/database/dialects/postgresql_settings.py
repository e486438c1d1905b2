"""Settings of one PostgreSQL transaction, which end with it."""

from functools import cache
from typing import Any

import sqlalchemy as sa

from datamigrate.database.dialects.base import Timeouts


@cache
def batch_settings(timeouts: Timeouts, durable: bool) -> str:
    """Statements that set the transaction's timeouts and, unless `durable`, its quick commit."""
    settings = {
        "lock_timeout": _milliseconds(timeouts.lock),
        "statement_timeout": _milliseconds(timeouts.statement),
        # a host that is cut off must not keep its rows from who takes over
        "idle_in_transaction_session_timeout": _milliseconds(timeouts.idle),
        "jit": "off",
    }
    if not durable:
        settings["synchronous_commit"] = "off"
    return " ".join(f"SET LOCAL {name} = '{value}';" for name, value in settings.items())


def local_setting(name: str, seconds: float | None) -> sa.Select[Any]:
    """A SELECT that sets one timeout until the end of the (sub)transaction."""
    return sa.select(set_local(name, _milliseconds(seconds)))


def set_local(name: str, value: str) -> sa.ColumnElement[Any]:
    """A column that sets one setting until the end of the (sub)transaction."""
    return sa.func.set_config(name, value, True).label(name)


def _milliseconds(seconds: float | None) -> str:
    return "0" if seconds is None else f"{max(1, round(seconds * 1000))}ms"
