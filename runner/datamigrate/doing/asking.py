"""Asking others whether the work may go on: a function of the project's own, and an address on the web."""

import inspect
import urllib.request
from collections.abc import Awaitable, Callable
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import anyio

from datamigrate.database.database import Database
from datamigrate.doing.aside import once_at_a_time
from datamigrate.thought.health import Reading
from datamigrate.words.secrets import redacted

Ask = Callable[[], Awaitable[Reading]]

GOOD, BAD = 0.0, 1.0


async def within(patience: float, ask: Ask) -> Reading:
    """The answer, if it comes within so many seconds; whatever is raised instead is no answer."""
    try:
        with anyio.fail_after(patience):
            return await ask()
    except TimeoutError:
        return Reading(trouble=f"no answer within {patience:g} s")
    except Exception as error:
        return Reading(trouble=redacted(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"))


def ask_function(name: str, function: Callable[..., Any], database: Database) -> Ask:
    """Asks it without arguments, or with a connection that only looks, if it takes one.

    None and True let the work go on; False, or a text with the reason, holds it back.
    """
    is_async = inspect.iscoroutinefunction(function)
    if not inspect.signature(function).parameters:
        called = function if is_async else once_at_a_time(function)

        async def ask() -> Reading:
            return understood(name, await called())

        return ask

    async def ask_with_connection() -> Reading:
        async with database.looking() as connection:
            answer = await (function(connection) if is_async else connection.run_sync(function))
            return understood(name, answer)

    return ask_with_connection


def understood(name: str, answer: object) -> Reading:
    """What somebody's answer means."""
    if answer is None or answer is True or answer == "":
        return Reading(GOOD)
    if answer is False:
        return Reading(BAD, word=f"{name} says no")
    if isinstance(answer, str):
        return Reading(BAD, word=redacted(answer.partition("\n")[0]))
    return Reading(trouble=f"{name} answers {type(answer).__name__}; True, False, None or a reason is wanted")


NO_ANSWER = (OSError, HTTPException, ValueError)
"""What is raised when an address is asked and does not answer, or cannot be asked."""


def why_no_answer(host: str | None, error: Exception) -> str:
    """What to tell of that; an error that quotes the address, which it does not understand, is left out."""
    if isinstance(error, OSError):
        return f"{host}: {getattr(error, 'reason', error)}"
    return f"{host}: the address cannot be asked, or its answer is no HTTP"


async def ask_url(url: str, patience: float) -> Reading:
    """Whether the address answers 2xx. Neither its path nor its query is repeated: a secret may be in them."""
    return await anyio.to_thread.run_sync(partial(_fetched, url, patience), abandon_on_cancel=True)


def _fetched(url: str, patience: float) -> Reading:
    host = urlsplit(url).hostname or ""
    try:
        with urllib.request.urlopen(url, timeout=patience) as answer:
            status = answer.status
    except HTTPError as error:
        with error:
            status = error.code
    except NO_ANSWER as error:
        return Reading(trouble=why_no_answer(host, error))
    return Reading(GOOD) if 200 <= status < 300 else Reading(BAD, word=f"{host} answers {status}")
