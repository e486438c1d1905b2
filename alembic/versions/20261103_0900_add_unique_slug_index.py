"""Add the unique index on conversations.slug.

Revision ID: d92f0b6c3e51
Revises: c41d7e5b9a20
Create Date: 2026-11-03 09:00:00+00:00
"""

from collections.abc import Sequence

from alembic import op

revision: str = "d92f0b6c3e51"
down_revision: str | Sequence[str] | None = "c41d7e5b9a20"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_conversations_slug", "conversations", ["slug"], unique=True)


def downgrade() -> None:
    op.drop_index("ix_conversations_slug", table_name="conversations")
