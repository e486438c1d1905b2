"""Drop users.first_name and users.last_name.

Revision ID: f3b85d2e7a94
Revises: e07a9c4d1f62
Create Date: 2026-11-17 09:00:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "f3b85d2e7a94"
down_revision: str | Sequence[str] | None = "e07a9c4d1f62"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.require_data("populate_full_name")
    op.drop_column("users", "last_name")
    op.drop_column("users", "first_name")


def downgrade() -> None:
    # NOT NULL as before, because the former application relies on it; '' because the names are gone for good.
    for name in ("first_name", "last_name"):
        op.add_column("users", sa.Column(name, sa.String(100), nullable=False, server_default=""))
