"""Settings of a PostgreSQL session, and of one transaction, which end with it."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import sqlalchemy as sa

from datamigrate.database.dialects.base import Timeouts

OURS = "datamigrate"
"""With this the name of each of our sessions begins, on whatever host."""


def session_settings(asked: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Those that a URL asks for. A name of its own stands behind ours, by which sessions know each other.

    >>> session_settings([("application_name", "shop")])
    {'application_name': 'datamigrate shop'}
    """
    settings = dict(asked)
    named = settings.get("application_name", "")
    return settings | {"application_name": named if named.startswith(OURS) else f"{OURS} {named}".strip()}


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


def parallel_plans() -> sa.Select[Any]:
    """A SELECT that has the rest of the transaction planned as if processes that help with a query cost nothing."""
    return sa.select(*(set_local(f"parallel_{cost}_cost", "0") for cost in ("setup", "tuple")))


def set_local(name: str, value: str) -> sa.ColumnElement[Any]:
    """A column that sets one setting until the end of the (sub)transaction."""
    return sa.func.set_config(name, value, True).label(name)


def _milliseconds(seconds: float | None) -> str:
    return "0" if seconds is None else f"{max(1, round(seconds * 1000))}ms"
