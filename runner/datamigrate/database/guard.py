"""What a script may not do on its connection: change the schema, or end the transaction.

The transaction is the runner's. A script that committed it would part the work from its checkpoint, and
one that changed the schema would do behind Alembic's back what belongs in a revision.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.cancelled import BY_ITSELF, is_asked_for, taken_back
from datamigrate.words.errors import BatchFailed

_ACTIVE = "datamigrate_script"
_NOISE = re.compile(r"[\s;]+|--[^\n]*\n?|/\*.*?\*/", re.DOTALL)
_DDL = re.compile(
    r"(CREATE|ALTER|DROP|TRUNCATE|COMMENT|GRANT|REVOKE|REINDEX|VACUUM|CLUSTER|REFRESH|ATTACH|DETACH)\b"
    r"(?!\s+(GLOBAL\s+|LOCAL\s+)?TEMP(ORARY)?\b)",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_INTO = re.compile(
    r"(?<!INSERT )(?<!MERGE )\bINTO (?!(?:LOCAL |GLOBAL )?TEMP(?:ORARY)?\b)",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(SELECT|WITH|\()", re.IGNORECASE)
_BLOCK = re.compile(r"DO\b", re.IGNORECASE)
# where a statement begins in a block of PL/pgSQL, also one that it executes as a string
_DDL_IN_BLOCK = re.compile(
    r"(?:;|\$\w*\$|\b(?:BEGIN|THEN|ELSE|LOOP|EXECUTE\s+(?:format\s*\(\s*)?'))\s*" + _DDL.pattern,
    re.IGNORECASE,
)
_ENDING = re.compile(
    r"(COMMIT|END|ABORT|BEGIN|START|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+((WORK|TRANSACTION)\s+)?TO\b))\b",
    re.IGNORECASE,
)
# SQLite's word for a conflict: not the statement alone is undone, but the transaction is over
_ENDING_ON_CONFLICT = re.compile(r"\b(INSERT|UPDATE) OR ROLLBACK\b", re.IGNORECASE)


@asynccontextmanager
async def script_at_work(connection: AsyncConnection) -> AsyncIterator[None]:
    """While the script's own code runs on this connection, hold it to the rules.

    Raises BatchFailed when it has rolled the runner's transaction back behind our back, or was cancelled although
    nobody has asked for that.
    """
    info = connection.sync_connection.info if connection.sync_connection else {}
    transaction = connection.get_transaction()
    info[_ACTIVE] = True
    try:
        with taken_back():
            yield
    except SystemExit as error:
        raise BatchFailed("The script calls sys.exit().", "Raise an error to give a batch up.") from error
    except asyncio.CancelledError as error:
        if is_asked_for():
            raise
        raise BatchFailed("The script's function was cancelled.", BY_ITSELF) from error
    finally:
        info.pop(_ACTIVE, None)
    if transaction is not None and not transaction.is_active:
        raise BatchFailed(
            "The script rolls the runner's transaction back.",
            "Raise an error to give a batch up, or use session.begin_nested() for a part of it.",
        )


def watch(engine: Engine) -> None:
    """Make the rules known to every connection of this engine."""
    event.listen(engine, "before_cursor_execute", _before_statement)
    event.listen(engine, "commit", _before_commit)


def is_held_to_the_rules(connection: Connection) -> bool:
    """Whether a script's own code runs on this connection now."""
    return bool(connection.info.get(_ACTIVE))


def forbidden(statement: str) -> str | None:
    """Why a script may not issue this statement, or None when it may."""
    text = _without_noise(statement)
    if found := _DDL.match(text):
        return f"The script changes the schema ({found[0].upper()} ...)."
    if found := _ENDING.match(text):
        return f"The script ends the runner's transaction ({found[0].upper()})."
    if "ROLLBACK" in text.upper() and (found := _ENDING_ON_CONFLICT.search(_own_words(text))):
        return f"The script ends the runner's transaction at a conflict ({found[0].upper()})."
    if _QUERY.match(text) and _INTO.search(_own_words(text)):
        return "The script changes the schema (SELECT ... INTO ...)."
    if _BLOCK.match(text) and (found := _DDL_IN_BLOCK.search(text)):
        return f"The script changes the schema (DO ... {found[1].upper()} ...)."
    return None


def _before_statement(
    connection: Connection, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
) -> None:
    if is_held_to_the_rules(connection) and (why := forbidden(statement)):
        raise BatchFailed(why, _instead(why))


def _before_commit(connection: Connection) -> None:
    if is_held_to_the_rules(connection):
        raise BatchFailed("The script commits on its own.", _instead("commit"))


def _instead(why: str) -> str:
    if "schema" in why:
        return (
            'Schema changes belong in an Alembic revision: `alembic revision -m "..."`. Nothing was changed.'
        )
    if "conflict" in why:
        return (
            "Take OR ROLLBACK out: then the statement alone is undone, and its error gives the batch up unless it is "
            "caught. Nothing was changed."
        )
    return (
        "Take the commit out: the runner commits the work together with its checkpoint. Nothing was changed."
    )


def _without_noise(statement: str) -> str:
    position = 0
    while found := _NOISE.match(statement, position):
        position = found.end()
    return statement[position:]


def _own_words(statement: str) -> str:
    """The statement without its comments and what is quoted in it, with single spaces."""
    return " ".join(_COMMENT.sub(" ", _QUOTED.sub(" x ", statement)).split())
