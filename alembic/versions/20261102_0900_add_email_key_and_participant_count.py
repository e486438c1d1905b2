"""Add users.email_key and conversations.participant_count.

Revision ID: c41d7e5b9a20
Revises: 8a6ada1e0883
Create Date: 2026-11-02 09:00:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "c41d7e5b9a20"
down_revision: str | Sequence[str] | None = "8a6ada1e0883"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("users", sa.Column("email_key", sa.Text(), nullable=True))  # a folded address may be longer
    op.add_column("conversations", sa.Column("participant_count", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("conversations", "participant_count")
    op.drop_column("users", "email_key")
