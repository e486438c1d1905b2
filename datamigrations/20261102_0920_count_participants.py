"""Count the participants of each conversation into conversations.participant_count."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

name = "count_participants"
requires = "c41d7e5b9a20"

participants = sa.table("participants", sa.column("conversation_id", sa.Uuid))
conversations = sa.table(
    "conversations", sa.column("id", sa.Uuid), sa.column("participant_count", sa.Integer)
)

uncounted = conversations.c.participant_count.is_(None)
count = (
    sa.select(sa.func.count())
    .select_from(participants)
    .where(participants.c.conversation_id == conversations.c.id)
    .scalar_subquery()
)


async def migrate(session: AsyncSession) -> None:
    await session.execute(sa.update(conversations).where(uncounted).values(participant_count=count))


async def remaining(session: AsyncSession) -> int:
    return await session.scalar(sa.select(sa.func.count()).select_from(conversations).where(uncounted)) or 0
