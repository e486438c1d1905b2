"""The chat's tables as they are once every schema revision is applied."""

from __future__ import annotations

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows only in an INTEGER key
instant = sa.DateTime(timezone=True)


class Base(DeclarativeBase):
    """What all tables share: one metadata whose constraints have predictable names."""

    metadata = sa.MetaData(naming_convention=naming_convention)


class User(Base):
    """Somebody who writes messages."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(320))
    created_at: Mapped[datetime] = mapped_column(instant)
    full_name: Mapped[str] = mapped_column(sa.String(201))
    email_key: Mapped[str] = mapped_column(sa.Text)


class Conversation(Base):
    """A thread of messages between its participants."""

    __tablename__ = "conversations"

    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid, primary_key=True)
    title: Mapped[str | None] = mapped_column(sa.String(255))
    created_at: Mapped[datetime] = mapped_column(instant)
    slug: Mapped[str | None] = mapped_column(sa.String(255), index=True, unique=True)
    participant_count: Mapped[int | None]


class Participant(Base):
    """A user's place in a conversation."""

    __tablename__ = "participants"

    conversation_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("conversations.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), primary_key=True)
    joined_at: Mapped[datetime] = mapped_column(instant)


class Message(Base):
    """Something a user said; gone after `expires_at`, where there is one."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(big_id, primary_key=True)
    conversation_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("conversations.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    body: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(instant)
    expires_at: Mapped[datetime | None] = mapped_column(instant)


metadata = Base.metadata
