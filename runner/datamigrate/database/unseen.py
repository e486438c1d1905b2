"""Tables that are there and that a role cannot see, since it may not use their schema: PostgreSQL leaves such a
schema out of the search path without a word, so that they look as if they were not there."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.privileges import Named, find_relations, held_by, quoted
from datamigrate.thought.privileges import Right, grants
from datamigrate.words.errors import NotAllowed


def refuse_unseen(connection: Connection, table: str, schema: str | None = None) -> None:
    """Raises NotAllowed when there is such a table after all, in a schema that may not be used."""
    if connection.dialect.name != "postgresql":
        return
    named = Named(table, schema)
    found = find_relations(connection, [named]).get(named)
    if found is None:
        return
    role = str(connection.scalar(sa.select(sa.func.current_user())))
    home = f"SCHEMA {found.relation.schema}"
    use = Right("USAGE", home)
    if use not in held_by(connection, role, [home]):
        (grant,) = grants(quoted(connection, role), [use])
        raise NotAllowed(
            f"The role {role} may not use the schema {found.relation.schema}, so that it does not see the table "
            f"{found.relation.name}.",
            f"As the schema's owner: {grant} `datamigrate doctor` names every right that is missing.",
        )
