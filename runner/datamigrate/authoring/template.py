"""The text of a new script."""

import re
from dataclasses import dataclass
from datetime import datetime

KINDS = ("update", "compute", "batch", "delete", "free")

_HEAD = '''"""{title}."""

import sqlalchemy as sa
{imports}
name = "{name}"
requires = {requires}
depends_on = ()
{body}'''

_TABLE = """
# Declare only the columns that this script touches; never import the application's models.
rows = sa.table(
    "my_table",
    sa.column("id", sa.Integer),
    sa.column("old", sa.Text),
    sa.column("new", sa.Text),
)
"""

_BODIES = {
    "update": _TABLE
    + """
migrate = update_rows(
    rows,
    pending=rows.c.new.is_(None) & rows.c.old.is_not(None),
    values={rows.c.new: sa.func.trim(rows.c.old)},
)
""",
    "compute": _TABLE
    + """

@compute_rows(
    rows,
    pending=rows.c.new.is_(None) & rows.c.old.is_not(None),
    reads=[rows.c.old],
    writes=[rows.c.new],
)
def migrate(row):
    return {"new": row.old.strip()}
""",
    "batch": _TABLE
    + """

@each_batch(rows, pending=rows.c.new.is_(None) & rows.c.old.is_not(None))
async def migrate(batch):
    # anything, in the batch's transaction; afterwards `pending` must select none of batch.rows
    await batch.execute(sa.update(rows).where(batch.rows).values(new=rows.c.old))
""",
    "delete": _TABLE
    + """
migrate = delete_rows(rows, pending=rows.c.old == "expired")
""",
    "free": '''

async def migrate(session):
    """One transaction, which the runner commits. Running it twice must do no harm."""
    await session.execute(sa.text("UPDATE my_table SET new = old WHERE new IS NULL"))


async def remaining(session):
    """How many rows are still to do; 0 is verified."""
    return await session.scalar(sa.text("SELECT count(*) FROM my_table WHERE new IS NULL"))
''',
}

_IMPORTS = {
    "update": "\nfrom datamigrate import update_rows\n",
    "compute": "\nfrom datamigrate import compute_rows\n",
    "batch": "\nfrom datamigrate import each_batch\n",
    "delete": "\nfrom datamigrate import delete_rows\n",
    "free": "",
}


@dataclass(frozen=True)
class NewScript:
    """A script to be written: its file name and its text."""

    file: str
    name: str
    text: str


def new_script(message: str, requires: tuple[str, ...], kind: str, at: datetime) -> NewScript:
    """The script for a message such as "populate full name", dated like Alembic's revisions."""
    slug = re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")[:60].rstrip("_") or "data_migration"
    name = slug if slug[0].isalpha() else f"m_{slug}"
    text = _HEAD.format(
        title=_title(message) or slug,
        imports=_IMPORTS[kind],
        name=name,
        requires=f'"{requires[0]}"' if len(requires) == 1 else _tuple(requires),
        body=_BODIES[kind],
    )
    return NewScript(f"{at:%Y%m%d_%H%M}_{slug}.py", name, text)


def _title(message: str) -> str:
    """The message as one line that can stand in a docstring."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    line = line.rstrip(".").replace("\\", "\\\\").replace('"""', "'''")
    return line[:1].upper() + line[1:]


def _tuple(names: tuple[str, ...]) -> str:
    return "(" + ", ".join(f'"{name}"' for name in names) + ")"
