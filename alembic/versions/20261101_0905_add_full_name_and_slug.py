"""Add users.full_name and conversations.slug.

Revision ID: 8a6ada1e0883
Revises: 615021cc5b23
Create Date: 2026-11-01 09:05:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "8a6ada1e0883"
down_revision: str | Sequence[str] | None = "615021cc5b23"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("users", sa.Column("full_name", sa.String(201), nullable=True))
    op.add_column("conversations", sa.Column("slug", sa.String(255), nullable=True))


def downgrade() -> None:
    op.drop_column("conversations", "slug")
    op.drop_column("users", "full_name")
