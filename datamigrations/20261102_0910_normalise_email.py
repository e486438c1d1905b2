"""Fill users.email_key with the form of the address under which it is looked up."""

import unicodedata
from typing import Any

import sqlalchemy as sa

from datamigrate import compute_rows

name = "normalise_email"
requires = "c41d7e5b9a20"

users = sa.table(
    "users",
    sa.column("id", sa.Integer),
    sa.column("email", sa.Text),
    sa.column("email_key", sa.Text),
)


def normalise(email: str) -> str:
    """Fold compatibility forms and case, and drop the `+tag`; doing it twice changes nothing."""
    local, at, domain = fold(email).rpartition("@")
    untagged = local.split("+", 1)[0]
    return (untagged or local) + at + domain


def fold(text: str) -> str:
    """Casefold in NFKC; the second pass composes what casefolding has taken apart."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


@compute_rows(
    users,
    key=users.c.id,
    pending=users.c.email_key.is_(None),
    reads=[users.c.email],
    writes=[users.c.email_key],
)
def migrate(row: Any) -> dict[str, str]:
    return {"email_key": normalise(row.email)}
