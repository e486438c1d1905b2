"""What a script is lent for its work: a batch or a session, inside the runner's transaction, for a while."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from datamigrate.authoring.batch import Batch
from datamigrate.authoring.forms import EachBatch
from datamigrate.database.changes import rows_of
from datamigrate.database.guard import script_at_work
from datamigrate.database.keyset import Keyset
from datamigrate.words.errors import BatchFailed
from datamigrate.words.migration import Bounds


@asynccontextmanager
async def lend_batch(
    connection: AsyncConnection, form: EachBatch, keyset: Keyset, bounds: Bounds, number: int
) -> AsyncIterator[Batch]:
    """The batch as the script sees it; of no use once the block is left."""
    is_open = True
    try:
        async with script_at_work(connection):
            yield Batch(
                rows_of(form, keyset, bounds),
                bounds.lower,
                bounds.upper,
                number,
                connection.execute,
                lambda: is_open,
            )
    finally:
        is_open = False


@asynccontextmanager
async def lend_session(connection: AsyncConnection) -> AsyncIterator[AsyncSession]:
    """A session inside the runner's transaction; it cannot commit, and is closed for good at the end."""
    session = AsyncSession(
        bind=connection,
        join_transaction_mode="rollback_only",
        expire_on_commit=False,
        close_resets_only=False,
    )
    event.listen(session.sync_session, "before_commit", _refuse_commit)
    try:
        async with script_at_work(connection):
            yield session
            await session.flush()
    finally:
        with anyio.CancelScope(shield=True):
            await session.close()


def _refuse_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        raise BatchFailed(
            "The script commits on its own.",
            "Take the commit out: the runner commits the work together with its checkpoint.",
        )
