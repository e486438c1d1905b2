"""Require users.full_name and users.email_key.

Revision ID: e07a9c4d1f62
Revises: d92f0b6c3e51
Create Date: 2026-11-16 09:00:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import context, op

revision: str = "e07a9c4d1f62"
down_revision: str | Sequence[str] | None = "d92f0b6c3e51"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# What SQLite rebuilds when only SQL is written and there is no database to ask.
users = sa.Table(
    "users",
    sa.MetaData(),
    sa.Column("id", sa.Integer(), nullable=False),
    sa.Column("first_name", sa.String(100), nullable=False),
    sa.Column("last_name", sa.String(100), nullable=False),
    sa.Column("email", sa.String(320), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("full_name", sa.String(201)),
    sa.Column("email_key", sa.Text()),
    sa.PrimaryKeyConstraint("id", name="pk_users"),
)


def upgrade() -> None:
    op.require_data("populate_full_name", "normalise_email")
    allow_null(False)


def downgrade() -> None:
    allow_null(True)


def allow_null(nullable: bool) -> None:
    """Let both columns be NULL, or forbid it."""
    declared = users if context.is_offline_mode() else None
    with op.batch_alter_table("users", copy_from=declared) as batch:
        batch.alter_column("full_name", existing_type=sa.String(201), nullable=nullable)
        batch.alter_column("email_key", existing_type=sa.Text(), nullable=nullable)
