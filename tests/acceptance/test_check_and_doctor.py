"""`check`, the gate for CI, and `doctor`, the first thing to ask: in projects that are well, and in broken ones."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from beside import GATED, hooked, write_gate
from databases import ROOT, ScratchDatabase
from datamigrate.database.ledger.tables import VERSION
from projects import FULL_NAME, NICK, NICKNAMES, Project, add_people, project_in

UPDATES = 'op.execute("UPDATE people SET full_name = first")'
LATER = "5e6f7a8b9ca3"
SECRET = "s3cr3t"


@pytest.fixture
def project(tmp_path: Path, database: ScratchDatabase) -> Project:
    """A project that is well: hooks, a script, a gate, its schema at the revision before."""
    project = hooked(tmp_path / "project", database)
    project.write_script("full_name")
    write_gate(project)
    project.upgrade(NICKNAMES)
    return project


@pytest.fixture
def unplaced(tmp_path: Path) -> Project:
    """The same with no database anywhere, and none named."""
    project = hooked(tmp_path / "project")
    project.write_script("full_name")
    write_gate(project)
    return project


def findings(project: Project, *arguments: str, exits: int = 3) -> list[dict[str, Any]]:
    found = project.json("check", *arguments, exits=exits)["findings"]
    assert isinstance(found, list)
    return found


def codes(project: Project, *arguments: str) -> list[str]:
    return sorted(str(finding["code"]) for finding in findings(project, *arguments))


# check


def test_a_project_that_is_well_has_no_findings(project: Project) -> None:
    shown = project.datamigrate("check")
    assert (shown.out, shown.err) == ("", "Nothing found.\n")
    assert findings(project, exits=0) == []


def test_the_repository_itself_has_no_findings() -> None:
    assert findings(Project(ROOT), "--offline", exits=0) == []


def test_offline_it_needs_no_database(unplaced: Project) -> None:
    assert unplaced.quick("check", "--offline").err == "Nothing found.\n"
    assert "No database is named" in unplaced.quick("check", exits=2).err
    assert list(unplaced.root.glob("**/*.db")) == []


def test_data_work_in_a_revision_is_found_with_its_line_and_what_would_replace_it(unplaced: Project) -> None:
    file = unplaced.write_revision(LATER, GATED, upgrade=UPDATES)
    line = 1 + [text.strip() for text in file.read_text().splitlines()].index(UPDATES)
    told = unplaced.quick("check", "--offline", exits=3)
    assert f"alembic/versions/{LATER}.py:{line}: error data-in-schema-revision: " in told.out
    assert f"--requires {LATER}" in told.out
    assert "datamigrate new -m" in told.out
    assert "1 finding." in told.err


def test_json_has_the_shape_that_programs_rely_on(unplaced: Project) -> None:
    file = unplaced.write_revision(LATER, GATED, upgrade=UPDATES)
    for asked in (("--format", "json"), ("--json",)):
        facts = json.loads(unplaced.quick("check", "--offline", *asked, exits=3).out)
        (finding,) = facts["findings"]
        assert {"code", "severity", "file", "line", "message"} <= finding.keys()
        assert finding["code"] == "data-in-schema-revision"
        assert finding["severity"] == "error"
        assert unplaced.root / finding["file"] == file
        assert isinstance(finding["line"], int)


def test_github_shows_each_finding_beside_its_line(unplaced: Project) -> None:
    unplaced.write_revision(LATER, GATED, upgrade=UPDATES)
    unplaced.write_file("broken.py", "name = 'broken'\nrequires = ()\n1 / 0\n")
    unplaced.write_script("lost", requires="ffffffff")
    lines = unplaced.quick("check", "--offline", "--format", "github", exits=3).out.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert re.fullmatch(r"::error file=[\w/]+\.py,line=\d+,title=[\w-]+::.+", line), line
    assert any(f"file=alembic/versions/{LATER}.py" in line for line in lines)
    assert any("file=datamigrations/broken.py,line=3," in line for line in lines)
    assert any("file=datamigrations/lost.py,line=1," in line for line in lines)


def test_a_comment_with_a_reason_lets_data_work_be(unplaced: Project) -> None:
    unplaced.write_revision(LATER, GATED, upgrade=f"{UPDATES}  # datamigrate: allow(three rows, for ever)")
    assert unplaced.quick("check", "--offline").err == "Nothing found.\n"


def test_revisions_as_old_as_lint_since_are_left_in_peace(unplaced: Project) -> None:
    unplaced.write_revision(LATER, GATED, upgrade=UPDATES)
    unplaced.write_revision("6f7a8b9cadb4", LATER, upgrade=UPDATES)
    pyproject = unplaced.root / "pyproject.toml"
    before = pyproject.read_text()
    assert len(findings(unplaced, "--offline")) == 2
    pyproject.write_text(before + f'lint_since = "{LATER}"\n')
    (finding,) = findings(unplaced, "--offline")
    assert "6f7a8b9cadb4" in finding["file"]
    pyproject.write_text(before + 'lint_since = "ffffffff"\n')
    told = unplaced.quick("check", "--offline", exits=2).err
    assert "lint_since = 'ffffffff' names no revision" in told


def test_a_folder_of_revisions_needs_no_project(tmp_path: Path) -> None:
    folder = tmp_path / "theirs" / "versions"
    folder.mkdir(parents=True)
    (folder / "one.py").write_text(
        'from alembic import op\n\nrevision = "a1"\n\n\ndef upgrade():\n    op.execute("DELETE FROM logs")\n'
    )
    (folder / "two.py").write_text('from alembic import op\n\n\ndef upgrade():\n    op.drop_table("logs")\n')
    nowhere = Project(tmp_path)
    (finding,) = findings(nowhere, "--revisions", "theirs/versions")
    assert (finding["file"], finding["line"]) == ("theirs/versions/one.py", 7)
    (folder / "one.py").unlink()
    assert findings(nowhere, "--revisions", "theirs/versions", exits=0) == []
    told = nowhere.quick("check", "--revisions", "elsewhere", exits=2).err
    assert "There is no folder elsewhere." in told


def test_what_is_wrong_with_scripts_is_found_with_file_and_line(unplaced: Project) -> None:
    broken = unplaced.write_file("broken.py", "name = 'broken'\nrequires = ()\n1 / 0\n")
    lost = unplaced.write_script("lost", requires="ffffffff")
    a = unplaced.write_script("a", depends_on=("b",))
    unplaced.write_script("b", depends_on=("a",))
    twin = unplaced.write_script("full_name", file="twin.py")
    found = {(f["code"], f["file"], f["line"]) for f in findings(unplaced, "--offline")}
    here = unplaced.root
    assert ("broken-script", str(broken.relative_to(here)), 3) in found
    assert ("broken-graph", str(lost.relative_to(here)), 1) in found
    assert any(file == str(a.relative_to(here)) for _, file, _ in found)
    assert any(file in (str(twin.relative_to(here)), "datamigrations/full_name.py") for _, file, _ in found)
    assert all(file for _, file, _ in found), "every finding has a place"


def test_drift_is_found_with_the_database(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 3)
    project.quick("run")
    project.write_script("full_name", FULL_NAME.replace('" "', '", "'))
    (finding,) = findings(project)
    assert (finding["code"], finding["file"]) == ("drifted", "datamigrations/full_name.py")
    assert "full_name: the script was edited after it was done" in finding["message"]
    assert "`datamigrate stamp full_name`" in finding["message"]
    assert "`datamigrate reset full_name`" in finding["message"]
    assert findings(project, "--offline", exits=0) == []


def test_keys_and_columns_that_do_not_fit_are_found_with_the_database(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("by_name", FULL_NAME.replace("people,", "people, key=people.c.first,", 1))
    project.write_script("nowhere", FULL_NAME.replace("full_name", "nick_name"), requires=NICKNAMES)
    script = project.scripts / "nowhere.py"
    script.write_text(script.read_text().replace('sa.column("nick",', 'sa.column("nick_name",'))
    before = database.dump()
    found = {f["code"]: f for f in findings(project)}
    assert found.keys() == {"unfit-key", "unfit-schema"}
    assert "by_name: nothing makes" in found["unfit-key"]["message"]
    assert found["unfit-key"]["file"] == "datamigrations/by_name.py"
    assert "nick_name" in found["unfit-schema"]["message"]
    assert found["unfit-schema"]["file"] == "datamigrations/nowhere.py"
    assert database.dump() == before, "looking never writes"
    assert findings(project, "--offline", exits=0) == []


# doctor


def diagnoses(project: Project, exits: int = 0, **variables: str) -> dict[str, dict[str, str]]:
    return {d["about"]: d for d in project.json("doctor", exits=exits, **variables)["diagnoses"]}


def test_the_doctor_finds_a_project_that_is_well_well(project: Project, database: ScratchDatabase) -> None:
    before = database.dump()
    shown = project.datamigrate("doctor").out
    found = diagnoses(project)
    assert {d["verdict"] for d in found.values()} == {"ok"}
    assert {"versions", "alembic", "configuration", "scripts", "database", "hooks", "server", "schema"} <= (
        found.keys()
    )
    assert "(from DATABASE_URL)" in found["database"]["said"]
    assert found["schema"]["said"] == f"at {NICKNAMES}"
    assert found["ledger"]["said"].startswith(f"version {VERSION}")
    for about in found:
        assert about in shown
    assert database.dump() == before


def test_the_doctor_is_content_with_a_database_that_is_still_empty(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    found = diagnoses(hooked(tmp_path / "project", postgres_database))
    assert found["schema"]["said"] == "at no revision yet"
    assert found["ledger"]["said"] == "none yet; the first `run` creates it"


def test_a_sqlite_file_that_is_not_there_yet_is_told_and_not_made(
    tmp_path: Path, sqlite_database: ScratchDatabase
) -> None:
    found = diagnoses(hooked(tmp_path / "project", sqlite_database), exits=1)
    assert "There is no SQLite database at" in found["database"]["said"]
    assert "alembic upgrade head" in found["database"]["said"]
    assert not Path(str(sqlite_database.engine.url.database)).exists()


def test_broken_scripts_and_missing_ones_are_diagnoses(project: Project) -> None:
    broken = project.write_file("broken.py", "1 / 0\n")
    project.write_script("lost", NICK, requires="ffffffff")
    told = [d["said"] for d in project.json("doctor", exits=1)["diagnoses"] if d["verdict"] == "wrong"]
    assert any(str(broken) in said and "division by zero" in said for said in told)
    assert any("ffffffff" in said for said in told)
    shutil.rmtree(project.scripts)
    found = diagnoses(project, exits=1)
    assert "`datamigrate init` makes one" in found["scripts"]["said"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/shop", "127.0.0.1:1"),
        (f"postgresql+asyncpg://ann:{SECRET}@127.0.0.1:1/shop?ssl=require", "127.0.0.1:1"),
        (f"mysql://ann:{SECRET}@host/shop", "supported are PostgreSQL and SQLite"),
        (f"ann:{SECRET}@host", "cannot be read"),
        (f"postgresql://127.0.0.1:1/shop?user=ann&password={SECRET}", "127.0.0.1:1"),
    ],
)
def test_a_database_that_cannot_be_reached_is_told_without_its_password(
    tmp_path: Path, url: str, words: str
) -> None:
    project = project_in(tmp_path / "project").having({"DATABASE_URL": url})
    for call in (("doctor",), ("doctor", "--json"), ("check",), ("upgrade",), ("plan", "--upgrade")):
        told = project.quick(*call, exits=None)
        assert told.code in (1, 2)
        assert SECRET not in told.out + told.err
        assert "Traceback" not in told.out + told.err
        assert words in told.out + told.err


def test_the_password_of_a_database_that_answers_is_never_shown(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.write_script("full_name")
    url = postgres_database.sync_url.replace("postgres@", f"postgres:{SECRET}@")
    for call in (("doctor",), ("upgrade", "--json"), ("check",), ("doctor", "-v"), ("history",)):
        told = project.quick(*call, DATABASE_URL=url)
        assert SECRET not in told.out + told.err


@pytest.mark.parametrize(
    ("setting", "about", "words"),
    [
        ('throttle = "nowhere:healthy"', "health", "function = 'nowhere:healthy' cannot be used"),
        ('notify = { command = "no-such-program --x" }', "notices", "is found: no-such-program"),
    ],
)
def test_what_a_run_could_not_call_is_wrong_before_there_is_a_run(
    sqlite_project: Project, setting: str, about: str, words: str
) -> None:
    sqlite_project.configure(setting)
    told = [d for d in sqlite_project.json("doctor", exits=1)["diagnoses"] if d["verdict"] == "wrong"]
    assert [d["about"] for d in told] == [about]
    assert words in told[0]["said"]


def test_an_env_py_that_fails_is_a_note_where_the_database_is_named(project: Project) -> None:
    (project.root / "alembic" / "env.py").write_text("raise KeyError('SHOP_DSN')\n")
    found = diagnoses(project)
    assert found["env.py"]["verdict"] == "note"
    assert "KeyError: 'SHOP_DSN'" in found["env.py"]["said"]
    unnamed = Project(project.root)
    found = diagnoses(unnamed, exits=1)
    assert "No database is named" in found["database"]["said"]


def test_without_alembic_the_doctor_says_so(tmp_path: Path) -> None:
    told = Project(tmp_path).datamigrate("doctor", exits=2).err
    assert "No Alembic configuration" in told
    assert "Traceback" not in told


def test_a_role_that_may_not_keep_a_ledger_is_told_what_to_grant(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = project_in(tmp_path / "project", postgres_database)
    role = f"clerk_{tmp_path.parent.name}_{tmp_path.name}".replace("-", "_")[:60]
    postgres_database.script(f"CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC;")
    try:
        url = postgres_database.sync_url.replace("postgres@", f"{role}@")
        found = diagnoses(project, exits=1, DATABASE_URL=url)
        assert found["privileges"]["verdict"] == "wrong"
        assert f"GRANT CREATE ON SCHEMA public TO {role};" in found["privileges"]["said"]
    finally:
        postgres_database.script(f"DROP ROLE {role};")


def test_a_schema_for_the_ledger_that_does_not_exist_yet_is_no_surprise(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.configure('schema = "ops"')
    assert diagnoses(project)["privileges"]["verdict"] == "ok"
    told = project.quick("doctor", "--grants", "nobody_yet").out
    assert re.search("GRANT CONNECT, CREATE ON DATABASE .* TO nobody_yet;", told)
