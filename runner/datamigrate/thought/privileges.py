"""Which rights a role needs on PostgreSQL, which of them it lacks, and the GRANTs that give them.

Every name here is as SQL has it, quoted where that is needed.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

READ_AND_WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")

STATISTICS = "pg_read_all_stats"
"""The role whose members see what other sessions and replicas do; those of `pg_monitor` are among them."""


@dataclass(frozen=True)
class Right:
    """What may be done (`verb`) with a thing (`on`, such as `TABLE public.users`), or with one column of it."""

    verb: str
    on: str
    column: str | None = None


@dataclass(frozen=True)
class Relation:
    """A table that is there, and the sequences that number its rows."""

    schema: str
    name: str
    sequences: tuple[str, ...] = ()

    def rights(self, verb: str, columns: Iterable[str] = ()) -> tuple[Right, ...]:
        """To do this with these columns of it, or with the whole of it."""
        on = f"TABLE {self.name}"
        return tuple(Right(verb, on, column) for column in columns) or (Right(verb, on),)


@dataclass(frozen=True)
class Home:
    """Where the ledger is, or would be: `schema` with no `tables` in it yet, or not even the schema."""

    database: str
    schema: str
    exists: bool
    tables: tuple[Relation, ...] = ()


@dataclass(frozen=True)
class Use:
    """What is done with a table: with the whole of it where no columns are named."""

    relation: Relation
    verb: str
    columns: tuple[str, ...] = ()


def needed(home: Home, uses: Sequence[Use]) -> tuple[Right, ...]:
    """The rights that a run needs, each once: for its ledger, and for these uses of other tables."""
    rights = [Right("CONNECT", f"DATABASE {home.database}"), *_for_ledger(home)]
    for use in uses:
        rights += [Right("USAGE", f"SCHEMA {use.relation.schema}")]
        rights += use.relation.rights(use.verb, use.columns)
    return tuple(dict.fromkeys(rights))


def lacking(wanted: Sequence[Right], held: Collection[Right]) -> tuple[Right, ...]:
    """What is wanted and not held; a right to a whole table is one to each of its columns."""
    return tuple(r for r in wanted if r not in held and Right(r.verb, r.on) not in held)


def grants(role: str, rights: Sequence[Right]) -> list[str]:
    """A GRANT for each thing, in the order of the rights."""
    return [f"GRANT {_verbs(rights, on)} ON {on} TO {role};" for on in dict.fromkeys(r.on for r in rights)]


def _for_ledger(home: Home) -> list[Right]:
    if not home.exists:
        return [Right("CREATE", f"DATABASE {home.database}")]
    rights = [Right("USAGE", f"SCHEMA {home.schema}")]
    if not home.tables:
        return [*rights, Right("CREATE", f"SCHEMA {home.schema}")]
    for table in home.tables:
        rights += (right for verb in READ_AND_WRITE for right in table.rights(verb))
        rights += (Right("USAGE", f"SEQUENCE {sequence}") for sequence in table.sequences)
    return rights


def _verbs(rights: Sequence[Right], on: str) -> str:
    columns: dict[str, list[str]] = {}
    for right in rights:
        if right.on == on:
            columns.setdefault(right.verb, []).extend([right.column] if right.column else [])
    return ", ".join(f"{verb} ({', '.join(names)})" if names else verb for verb, names in columns.items())
