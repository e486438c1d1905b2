"""Give every conversation a unique slug made of its title, or of its first participant's name."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from uuid import UUID

import sqlalchemy as sa

from datamigrate import Batch, each_batch

name = "conversation_slug"
requires = "d92f0b6c3e51"
depends_on = "populate_full_name"  # an untitled conversation is named after its first participant

LONGEST = 200  # leaves room in the column for a hyphen and 32 hex digits
SHORTEST_PREFIX = 8

users = sa.table("users", sa.column("id", sa.Integer), sa.column("full_name", sa.Text))
participants = sa.table(
    "participants",
    sa.column("conversation_id", sa.Uuid),
    sa.column("user_id", sa.Integer),
    sa.column("joined_at", sa.DateTime(timezone=True)),
)
conversations = sa.table(
    "conversations", sa.column("id", sa.Uuid), sa.column("title", sa.Text), sa.column("slug", sa.Text)
)

first_participant = (
    sa.select(users.c.full_name)
    .join(participants, participants.c.user_id == users.c.id)
    .where(participants.c.conversation_id == conversations.c.id)
    .order_by(participants.c.joined_at, participants.c.user_id)
    .limit(1)
    .scalar_subquery()
)

# Batches of other ranges may want the same slugs: only the one that holds this row's lock may choose.
choosing = sa.select(conversations.c.id).order_by(conversations.c.id).limit(1).with_for_update(key_share=True)

rename = (
    sa.update(conversations)
    .where(conversations.c.id == sa.bindparam("conversation"))
    .values(slug=sa.bindparam("new_slug"))
)


def slugify(text: str | None) -> str:
    """Return the text as lower-case ASCII words joined by hyphens, `conversation` if no word is left."""
    plain = unicodedata.normalize("NFKD", (text or "").casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST].rstrip("-") or "conversation"


def owners_of(wanted: Mapping[UUID, str], holders: Mapping[str, UUID]) -> dict[str, UUID]:
    """Say who gets each plain slug: the smallest key among those who want it and the one who holds it."""
    owners = dict(holders)
    for key, slug in wanted.items():
        owners[slug] = min(key, owners.get(slug, key))
    return owners


@each_batch(
    conversations,
    key=conversations.c.id,
    pending=conversations.c.slug.is_(None),
    batch_size=1000,  # a slug that is looked up is a bound parameter, and a statement takes 32 thousand
)
async def migrate(batch: Batch) -> None:
    await batch.execute(choosing)
    text = sa.func.coalesce(conversations.c.title, first_participant)
    rows = await batch.execute(sa.select(conversations.c.id, text).where(batch.rows))
    wanted = {key: slugify(text) for key, text in rows}
    holders = await holders_of(batch, wanted.values())
    owners = owners_of(wanted, holders)
    displaced = {key: slug for slug, key in holders.items() if owners[slug] != key}
    losers = {key: slug for key, slug in wanted.items() if owners[slug] != key}
    chosen = await with_suffix(batch, displaced | losers, taken=set(owners))
    # a holder gives its slug up before the rightful owner takes it
    new_slugs = [(key, chosen[key]) for key in displaced]
    new_slugs += [(key, chosen.get(key, slug)) for key, slug in wanted.items()]
    if new_slugs:
        await batch.execute(rename, [{"conversation": key, "new_slug": slug} for key, slug in new_slugs])


async def holders_of(batch: Batch, slugs: Iterable[str]) -> dict[str, UUID]:
    """Return which conversation holds which of these slugs already."""
    found = await batch.execute(
        sa.select(conversations.c.slug, conversations.c.id).where(conversations.c.slug.in_(set(slugs)))
    )
    return {row.slug: row.id for row in found}


async def with_suffix(batch: Batch, plain: Mapping[UUID, str], taken: set[str]) -> dict[UUID, str]:
    """Append to each slug the shortest prefix of its conversation's id that makes it unlike all others."""
    chosen: dict[UUID, str] = {}
    for digits in range(SHORTEST_PREFIX, 33):
        candidates = {key: f"{plain[key]}-{key.hex[:digits]}" for key in sorted(plain.keys() - chosen.keys())}
        if not candidates:
            break
        taken |= (await holders_of(batch, candidates.values())).keys()
        for key, slug in candidates.items():
            if slug not in taken:
                chosen[key] = slug
                taken.add(slug)
    return chosen
