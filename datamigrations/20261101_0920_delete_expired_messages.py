"""Delete the messages that have expired."""

import sqlalchemy as sa

from datamigrate import delete_rows

name = "delete_expired_messages"
requires = "615021cc5b23"

messages = sa.table(
    "messages", sa.column("id", sa.BigInteger), sa.column("expires_at", sa.DateTime(timezone=True))
)

migrate = delete_rows(messages, key=messages.c.id, pending=messages.c.expires_at < sa.func.now())
