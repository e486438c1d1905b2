"""The jobs, and who does them."""

import ast
from dataclasses import dataclass
from pathlib import Path

CONTENDERS = Path(__file__).resolve().parent / "contenders"
LIMIT = "one statement"


@dataclass(frozen=True)
class Contender:
    """One way to do a job: a file beside those of the others, and the options that ours is run with, or the words
    that another one is given.

    A slow one is given only a `share` of the rows; figures are per row.
    """

    job: str
    name: str
    file: str
    options: tuple[str, ...] = ()
    share: float = 1.0
    dialects: tuple[str, ...] = ("postgresql", "sqlite")

    @property
    def path(self) -> Path:
        """Where it is written."""
        return CONTENDERS / self.job / self.file

    @property
    def is_ours(self) -> bool:
        """Whether the file is a data migration, which `datamigrate run` runs."""
        return self.file.startswith("ours")

    @property
    def lines(self) -> int:
        """How many lines a person has to write: those of the file without imports, docstrings, comments and blanks."""
        return lines_of_code(self.path.read_text("utf-8"))

    def rows(self, rows: int) -> int:
        """How many of so many rows it is given."""
        return rows if self.share == 1 else max(min(rows, 1_000), round(rows * self.share / 2) * 2)


@dataclass(frozen=True)
class Job:
    """Something to be done to every row, and the SQL that says how many rows are not as the limit leaves them."""

    name: str
    title: str
    wrong: str


JOBS = (
    Job(
        "update",
        "The database computes: full_name = trim(first_name || ' ' || last_name)",
        "SELECT {rows} - count(*) FROM people WHERE full_name = trim(first_name || ' ' || last_name)",
    ),
    Job(
        "compute",
        "Python computes: a lookup key from three columns",
        "SELECT {rows} - count(*) FROM people "
        "WHERE lookup = lower(trim(email)) || '/' || lower(last_name) || '/' || length(first_name)",
    ),
    Job(
        "copy",
        "Rows into another table",
        "SELECT {rows} - count(*) FROM people JOIN labels ON labels.person_id = people.id "
        "WHERE label = trim(first_name || ' ' || last_name)",
    ),
    Job(
        "delete",
        "Every second row goes",
        "SELECT {rows} / 2 - count(*) + 2 * count(CASE WHEN id % 2 = 0 THEN 1 END) FROM people",
    ),
)

TWO_WORKERS = ("--workers", "2")
SMALL = ("--batch-size", "5000")
# whoever is there
HURRY = ("--nice", "0")
GENTLE = ("--batch-size", "1000", "--nice", "0.8")
ONE, TWO = ("1",), ("2",)
POSTGRESQL, SQLITE = ("postgresql",), ("sqlite",)
QUICK = ("one_statement.py", "ours.py", "by_hand.py", "by_hand_sqlite.py")

FIELD = (
    Contender("update", LIMIT, "one_statement.py"),
    Contender("update", "update_rows", "ours.py"),
    Contender("update", "update_rows, 2 workers", "ours.py", TWO_WORKERS, dialects=POSTGRESQL),
    Contender(
        "update", "update_rows, 2 workers, 5,000 a batch", "ours.py", TWO_WORKERS + SMALL, dialects=POSTGRESQL
    ),
    Contender("update", "asyncpg by hand", "by_hand.py", ONE, dialects=POSTGRESQL),
    Contender("update", "asyncpg by hand, 2 connections", "by_hand.py", TWO, dialects=POSTGRESQL),
    Contender("update", "sqlite3 by hand", "by_hand_sqlite.py", dialects=SQLITE),
    Contender("update", "UPDATE … WHERE id IN (SELECT … LIMIT)", "in_limit.py"),
    Contender("update", "SQLAlchemy Core, executemany", "core_executemany.py", share=0.1),
    Contender("update", "SQLAlchemy ORM, yield_per and flush", "orm.py", share=0.1),
    Contender("update", "a loop in an Alembic revision", "alembic_loop.py", share=0.02),
    Contender("update", "Django bulk_update", "django_bulk_update.py", share=0.02),
    Contender("compute", LIMIT, "one_statement.py"),
    Contender("compute", "compute_rows", "ours.py"),
    Contender("compute", "compute_rows, 2 workers", "ours.py", TWO_WORKERS, dialects=POSTGRESQL),
    Contender("compute", "compute_rows, async", "ours_async.py"),
    Contender("compute", "compute_rows, async, 2 workers", "ours_async.py", TWO_WORKERS, dialects=POSTGRESQL),
    Contender("compute", "compute_rows, async, awaiting once a row", "ours_waiting.py"),
    Contender("compute", "asyncpg by hand", "by_hand.py", ONE, dialects=POSTGRESQL),
    Contender("compute", "asyncpg by hand, 2 connections", "by_hand.py", TWO, dialects=POSTGRESQL),
    Contender("compute", "sqlite3 by hand, calling Python", "by_hand_sqlite.py", dialects=SQLITE),
    Contender("compute", "SQLAlchemy Core, executemany", "core_executemany.py", share=0.1),
    Contender("compute", "SQLAlchemy ORM, yield_per and flush", "orm.py", share=0.1),
    Contender("compute", "a loop in an Alembic revision", "alembic_loop.py", share=0.02),
    Contender("compute", "Django bulk_update", "django_bulk_update.py", share=0.02),
    Contender("copy", LIMIT, "one_statement.py"),
    Contender("copy", "each_batch", "ours.py"),
    Contender("copy", "each_batch, 2 workers", "ours.py", TWO_WORKERS, dialects=POSTGRESQL),
    Contender("delete", LIMIT, "one_statement.py"),
    Contender("delete", "delete_rows", "ours.py"),
    Contender("delete", "delete_rows, 2 workers", "ours.py", TWO_WORKERS, dialects=POSTGRESQL),
    Contender("delete", "DELETE … WHERE id IN (SELECT … LIMIT)", "in_limit.py"),
)


# who runs while others work on the same table
MEANWHILE = (
    *(c for c in FIELD if c.job == "update" and c.options == () and not c.file.startswith("by_hand")),
    Contender("update", "update_rows, 2 workers", "ours.py", TWO_WORKERS, dialects=POSTGRESQL),
    Contender("update", "update_rows, 1,000 a batch, --nice 0.8", "ours.py", GENTLE, dialects=POSTGRESQL),
    Contender("update", "update_rows, --nice 0", "ours.py", HURRY, dialects=POSTGRESQL),
    Contender(
        "update", "update_rows, --nice 0, 2 workers", "ours.py", HURRY + TWO_WORKERS, dialects=POSTGRESQL
    ),
)


def field_of(job: Job, dialect: str) -> list[Contender]:
    """Who does this job on this dialect, the limit first."""
    return [c for c in FIELD if c.job == job.name and dialect in c.dialects]


def large_field_of(job: Job, dialect: str) -> list[Contender]:
    """Of these the ones that a large table can be given to: the limit, ours as it is run by default and by two workers, and
    by hand."""
    return [c for c in field_of(job, dialect) if c.file in QUICK and c.options in ((), TWO_WORKERS, ONE, TWO)]


def ours_for(name: str) -> Contender:
    """Our form for the job of this name, as it is run by default."""
    return next(c for c in FIELD if c.job == name and c.is_ours and not c.options)


def lines_of_code(source: str) -> int:
    """Lines on which code stands, imports and docstrings apart.

    >>> lines_of_code('"What it does."\\n\\nimport this\\n\\nx = [  # why\\n    1,\\n]\\n')
    3
    """
    lines: set[int] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.stmt)
            and not isinstance(node, ast.Import | ast.ImportFrom)
            and not _is_text(node)
        ):
            end = node.body[0].lineno - 1 if hasattr(node, "body") and node.body else node.end_lineno
            decorators = getattr(node, "decorator_list", [])
            start = min([node.lineno, *(d.lineno for d in decorators)])
            lines |= set(range(start, (end or start) + 1))
    written = source.splitlines()
    return sum(1 for n in lines if written[n - 1].strip() and not written[n - 1].strip().startswith("#"))


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
