"""The checksum of what a script means."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from databases import ROOT
from unit.samples import meaning

SCRIPT = '''"""Fill the key."""

import sqlalchemy as sa
from datamigrate import compute_rows

name = "fill_key"
requires = "8a6ada1e0883"
users = sa.table("users", sa.column("id", sa.Integer), sa.column("email", sa.Text))


@compute_rows(users, pending=users.c.email.is_(None), reads=[users.c.email], writes=[users.c.email])
def migrate(row):
    """Fold it."""
    return {"email": row.email.casefold()}
'''

# As much of the grammar as a script may well use.
EVERYTHING = r'''"""Everything."""

import sqlalchemy as sa

from datamigrate import compute_rows

name = "sample"
requires = ("8a6ada1e0883", "615021cc5b23")

users = sa.table("users", sa.column("id", sa.Integer), sa.column("email", sa.Text))
LIMITS = {"a": 1, **{"b": -2.5e3}, "c": 1j, "d": u"x"}
text = f"{LIMITS['a']!r:>{10}} and {name=}" "é \N{SNOWMAN} \U0001fae8" + rb"\x00".decode()


class Kept:
    """A class."""

    slots: tuple[int, ...] = ()


@compute_rows(users, pending=users.c.email.is_(None), reads=[users.c.email], writes=[users.c.email])
def migrate(row, /, *rest, flag=True, **more):
    """Says what it does."""
    try:
        first, *others = (x for x in row.email.split("@") if x)
    except* ValueError as group:
        raise RuntimeError from group
    match row:
        case {"a": [1, 2, *_], **kept} if (n := len(kept)):
            return {"email": lambda y=n: y}
        case Kept(slots=()) | None:
            return ...
    while not flag:
        with open("x") as a, open("y"):
            del a
        assert flag is not None, "no"
    return {"email": first if others else None}


async def remaining(session):
    async for row in session:
        await row
    return [x async for x in session][1:-1, ::2]
'''
CHECKSUM = "5a4e150b66489889"


def edited(*changes: tuple[str, str]) -> str:
    text = SCRIPT
    for before, after in changes:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


FORM = "writes=[users.c.email])"


@pytest.mark.parametrize(
    "change",
    [
        ("import sqlalchemy", "# a comment\nimport sqlalchemy"),
        ("\n\n\n@", "\n\n@"),
        ('name = "fill_key"', "name   =  'fill_key'  # a comment"),
        ('"""Fill the key."""', '"""Another title.\n\nAnd more."""'),
        ('"""Fill the key."""\n', ""),
        ('"""Fold it."""', '"""Fold it well."""'),
        ('    """Fold it."""\n', ""),
        ('"email": row', '"email": (row'),
        (FORM, FORM[:-1] + ",\n)"),
        (FORM, "writes=[users.c.email], batch_size=100)"),
        (FORM, "writes=[users.c.email], target_time=0.1, max_pause=1, concurrency=3, tags=['nightly'])"),
        ("requires", 'tags = ("nightly", "slow")\nrequires'),
        ("requires", 'tags: tuple[str, ...] = ("nightly",)\nrequires'),
        ('"fill_key"', 'u"fill_key"'),
    ],
)
def test_it_does_not_count(change: tuple[str, str]) -> None:
    more = [("casefold()", "casefold())")] if change[1].startswith('"email": (') else []
    assert meaning(edited(change, *more)) == meaning(SCRIPT)


@pytest.mark.parametrize(
    "change",
    [
        ('name = "fill_key"', 'name = "fill_keys"'),
        ('requires = "8a6ada1e0883"', 'requires = "615021cc5b23"'),
        ('requires = "8a6ada1e0883"', 'requires = ("8a6ada1e0883",)'),
        ("casefold", "lower"),
        ("casefold()", "casefold().strip()"),
        ("email.is_(None)", "email.is_not(None)"),
        ("sa.Integer", "sa.BigInteger"),
        ("def migrate(row)", "def migrate(rows)"),
        ("def migrate(row)", "async def migrate(row)"),
        ("return {", 'log = "a text that is no docstring"\n    return {'),
        ("return {", "pass\n    return {"),
        ("import sqlalchemy as sa", "import sqlalchemy as sa\nimport re"),
        (FORM, "writes=[users.c.email], key=users.c.id)"),
        ("casefold()", "casefold(tags=1)"),
        ("return {", "tags = row\n    return {"),
        ("users =", "batch_size = 7\nusers ="),
    ],
)
def test_it_counts(change: tuple[str, str]) -> None:
    assert meaning(edited(change)) != meaning(SCRIPT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rows.values(tags='a')", "rows.values(tags='b')"),
        ("f(batch_size=1)", "f(batch_size=2)"),
        ("x = 0", "x = ''"),
        ("x = 0", "x = False"),
        ("x = 1", "x = 1.0"),
        ("x = None", "x = 'None'"),
        ("x = b'a'", "x = 'a'"),
        ("f(a, b)", "f((a, b))"),
        ("x = [a]", "x = (a,)"),
        ("a.b", "a['b']"),
        ("if a:\n  b\n  c", "if a:\n  b\nc"),
        ("if a:\n  b\nelse:\n  c", "if a:\n  b\nc"),
        ("f'{a}'", "f'{a!r}'"),
        ("f'{a:{b}}'", "f'{a:{b}x}'"),
    ],
)
def test_two_meanings_have_two_checksums(one: str, other: str) -> None:
    assert meaning(one) != meaning(other)


def test_tuning_does_not_count_however_the_form_is_named() -> None:
    assert meaning("migrate = datamigrate.update_rows(t, batch_size=1)") == meaning(
        "migrate = datamigrate.update_rows(t)"
    )


def test_the_checksum_is_sixteen_hexadecimal_digits_and_does_not_change() -> None:
    assert meaning(EVERYTHING) == CHECKSUM


READ_AND_SUM = """
import ast, sys
from datamigrate.authoring.meaning import checksum
print(checksum(ast.parse(sys.stdin.buffer.read())))
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_version_of_python_finds_the_same_checksum(version: str) -> None:
    other = shutil.which(f"python{version}")
    if other is None or not runs(other):
        pytest.skip(f"there is no Python {version} here")
    told = subprocess.run(
        [other, "-c", READ_AND_SUM],
        input=EVERYTHING.encode(),
        capture_output=True,
        cwd=ROOT / "runner",
        check=True,
    )
    assert told.stdout.decode().strip() == CHECKSUM


def runs(python: str) -> bool:
    """A version manager may leave a command in the path that only says which versions there are."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
