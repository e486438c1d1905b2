"""A password is nowhere in what any verb prints, in any format, failing or not, nor in what is kept."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from databases import ScratchDatabase
from datamigrate.words import secrets
from projects import FULL_NAME, NICK, NICKNAMES, PEOPLE, Project, add_people, project_in

PASSWORD = "zork@quux\"blip/fnord'xyzzy:plugh%1 waldo"
PARTS = re.compile("|".join(re.findall("[a-z]{4,}", PASSWORD)), re.IGNORECASE)

TELLS_ALL = """
@compute_rows(people, pending=people.c.nick.is_(None), reads=[people.c.first], writes=[people.c.nick])
def migrate(row):
    import os

    raise RuntimeError("could not call " + os.environ["TOLD"] + " with " + os.environ["BARE"])
"""
FORMATS = (("-v",), ("-v", "--json", "--log-format", "json"))
IN_WORDS_TOO = ("run", "status", "show", "doctor", "history")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no call hide what only another one has learned."""
    monkeypatch.setattr(secrets, "_known", set())


def with_password(url: str, text: str = quote(PASSWORD, safe="")) -> str:
    """Return the URL with the password in it, escaped or as it is; the tests' server lets anybody in."""
    return url.replace("postgres@", f"postgres:{text}@")


def in_the_query(url: str) -> str:
    """Return the URL with user and password behind its question mark."""
    return url.replace("postgres@", "") + f"?user=postgres&password={quote(PASSWORD, safe='')}"


def nothing_is_told(project: Project, *calls: tuple[str, ...], codes: set[int] | None = None) -> None:
    """Make each call in each format, and look for the password in all that it prints."""
    for call in calls:
        for form in FORMATS if call[0] in IN_WORDS_TOO else FORMATS[1:]:
            secrets._known.clear()
            told = project.quick(*call, *form, exits=None)
            assert not PARTS.search(told.out + told.err), (call, form, told)
            assert told.out + told.err, call
            assert codes is None or told.code in codes, (call, told)


@pytest.fixture
def scripts(tmp_path: Path, postgres_database: ScratchDatabase) -> Project:
    """A project whose second script fails with the whole URL, and the bare password, in its error."""
    project = project_in(tmp_path / "project", postgres_database)
    project.upgrade()
    add_people(postgres_database, 7)
    project.write_script("full_name", FULL_NAME.replace("pending=", "batch_size=2, pending="))
    project.write_script("nick", TELLS_ALL, requires=NICKNAMES)
    url = with_password(postgres_database.sync_url)
    return project.having({"DATABASE_URL": url, "TOLD": url, "BARE": PASSWORD})


def test_no_verb_tells_the_password(scripts: Project, postgres_database: ScratchDatabase) -> None:
    url = scripts.variables["DATABASE_URL"]
    page = scripts.root / "page.html"
    because = ("--reason", f"restored by pg_restore -d {url} and password='{PASSWORD[:4]}'")
    nothing_is_told(
        scripts,
        ("list",),
        ("plan",),
        ("plan", "--upgrade"),
        ("run", "--dry-run", "--html", str(page)),
        ("run", "--max-batches", "1"),
        ("run", "--keep-going", "--url", url, "-x", f"url={url}", "-x", f"password={PASSWORD}"),
        ("status", "--count"),
        ("show", "nick"),
        ("doctor",),
        ("doctor", "--grants", "clerk"),
        ("check",),
        ("history",),
        *((verb, "full_name", *because) for verb in ("reset", "pause", "resume", "cancel", "retry", "stamp")),
        ("tune", "nick", "--nice", "0.5", *because),
        ("show", "full_name"),
        ("upgrade",),
        ("new", "-m", "mend names"),
        ("init",),
    )
    assert page.exists()
    assert not PARTS.search(page.read_text())
    kept = str([(name, rows) for name, rows in postgres_database.dump() if "datamigrate" in name])
    assert "could not call" in kept
    assert "pg_restore -d" in kept
    assert "--keep-going --url" in kept
    assert not PARTS.search(kept)


def test_what_cannot_be_understood_is_told_without_the_password(scripts: Project) -> None:
    url = scripts.variables["DATABASE_URL"]
    nothing_is_told(
        scripts,
        ("run", url),
        ("show", url),
        ("doctor", url),
        ("run", "--nice", url),
        ("run", "--max-time", url),
        ("plan", "--tag", url),
        ("upgrade", url),
        ("status", f"--ur={url}"),
        ("status", "--url", f"oracle://ann:{PASSWORD}@host/name"),
        codes={1, 2},
    )


@pytest.mark.parametrize("place", ["DATABASE_URL", "--url", "engine", "env.py"])
def test_it_is_hidden_wherever_it_comes_from_however_it_is_spelled(
    tmp_path: Path, postgres_database: ScratchDatabase, place: str
) -> None:
    good = postgres_database.sync_url
    spellings = [
        with_password(good, text) for text in (PASSWORD, "zork@quux", "zork/quux@blip", "zork@quux:blip")
    ]
    for number, url in enumerate([*spellings, in_the_query(good)]):
        project = project_in(tmp_path / f"project{number}")
        arguments: tuple[str, ...] = ()
        if place == "DATABASE_URL":
            project = project.having({"DATABASE_URL": url})
        if place == "--url":
            arguments = ("--url", url)
        if place == "engine":
            name = f"shop{number}_{postgres_database.url.rpartition('/')[2]}"
            (project.root / f"{name}.py").write_text(
                f"import sqlalchemy as sa\nengine = sa.create_engine({url!r})\n"
            )
            project.configure(f'engine = "{name}:engine"')
        if place == "env.py":
            env = project.root / "alembic" / "env.py"
            env.write_text(env.read_text().replace('os.environ["DATABASE_URL"]', repr(url)))
        nothing_is_told(project, *((verb, *arguments) for verb in ("status", "doctor")))


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_server_that_cannot_be_reached_is_told_without_the_password(tmp_path: Path, host: str) -> None:
    url = f"postgresql://ann:{quote(PASSWORD, safe='')}@{host}/shop"
    project = project_in(tmp_path / "project").having({"DATABASE_URL": url})
    nothing_is_told(project, ("run",), ("doctor",), codes={1})


def test_the_arguments_of_a_run_are_kept_without_any_password(
    database: ScratchDatabase, tmp_path: Path
) -> None:
    project = project_in(tmp_path / "project", database)
    project.upgrade()
    project.write_script("full_name", requires=PEOPLE)
    given = sa.make_url(database.sync_url)
    url = given.render_as_string() if database.dialect == "sqlite" else with_password(str(given))
    project.quick("run", "--url", url, "-x", f"dsn=host=db password={PASSWORD}", "-x", "token=zork")
    (run,) = project.json("history")["runs"]
    assert not PARTS.search(run["arguments"])
    assert run["arguments"].endswith("-x dsn=host=db password=*** -x token=***")


def test_a_word_that_is_met_by_accident_stays(sqlite_project: Project) -> None:
    sqlite_project.write_script("full_name", NICK, requires=NICKNAMES)
    told = sqlite_project.quick("status", "-x", "url=postgresql://ann:pending@host/name").out
    assert re.search("full_name +pending", told)
