"""Projects that have never seen us, as `alembic init` makes them: everything works, nothing else is touched."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from databases import ScratchDatabase, with_driver
from projects import Project

INI_URL = "driver://user:pass@localhost/dbname"
KINDS = ("update", "compute", "batch", "delete", "free")

CREATE_TABLE = """def upgrade() -> None:
    op.create_table(
        "my_table",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("old", sa.Text),
        sa.Column("new", sa.Text),
    )
"""
NEW_VALUES = {"update": "Ann", "compute": "Ann", "batch": " Ann ", "free": " Ann "}


@dataclass(frozen=True)
class Foreign:
    """A project made by `alembic init`, where it keeps things, and the database its configuration names."""

    project: Project
    database: ScratchDatabase
    versions: Path

    def write_revision(self) -> None:
        """Write the one revision, which creates the table that new scripts speak of."""
        self.project.alembic("revision", "-m", "create my table")
        (file,) = self.versions.glob("*.py")
        before, found, _ = file.read_text().partition("def upgrade() -> None:")
        assert found
        file.write_text(
            before + CREATE_TABLE + "\n\ndef downgrade() -> None:\n    op.drop_table('my_table')\n"
        )

    def insert_rows(self) -> None:
        self.database.execute(
            "INSERT INTO my_table (id, old) VALUES (1, ' Ann '), (2, ' Ann '), (3, 'expired')"
        )


def made_by_alembic(root: Path, template: str, database: ScratchDatabase) -> Foreign:
    """Make a project whose configuration names the database as its template's engine wants it."""
    root.mkdir()
    project = Project(root)
    project.alembic("init", "-t", template, "migrations")
    is_async = "async" in template
    url = database.url if is_async else database.sync_url
    if template.startswith("pyproject"):
        env = root / "migrations" / "env.py"
        line = "config = context.config\n"
        assert line in env.read_text()
        env.write_text(
            env.read_text().replace(line, f"{line}config.set_main_option('sqlalchemy.url', {url!r})\n")
        )
    else:
        ini = root / "alembic.ini"
        assert INI_URL in ini.read_text()
        ini.write_text(ini.read_text().replace(INI_URL, url))
    return Foreign(project, database, root / "migrations" / "versions")


@pytest.mark.parametrize("template", ["generic", "async", "pyproject"])
def test_a_project_is_at_home_with_datamigrate_in_four_commands(
    tmp_path: Path, database: ScratchDatabase, template: str
) -> None:
    foreign = made_by_alembic(tmp_path / "shop", template, database)
    project = foreign.project
    foreign.write_revision()
    before = project.files()

    told = project.quick("init").err
    assert f"wrote {project.root / 'pyproject.toml'}" in told
    assert "Next: `datamigrate new -m" in told
    written = project.quick("new", "-m", "Tidy new values").out.strip()
    assert re.fullmatch(r"\d{8}_\d{4}_tidy_new_values\.py", Path(written).name)
    project.alembic("upgrade", "head")
    foreign.insert_rows()

    first = project.datamigrate("run").err
    assert "tidy_new_values: done and verified, 3 rows" in first
    assert database.scalar("SELECT count(*) FROM my_table WHERE new = trim(old)") == 3
    after_one_run = database.dump()
    second = project.quick("run").err
    assert second == "Nothing to do.\n"
    assert database.dump() == after_one_run

    after = project.files()
    made = {name for name in after if name not in before}
    assert made <= {
        "pyproject.toml",
        "datamigrations/README.md",
        str(Path(written).relative_to(project.root)),
    }
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed <= {"pyproject.toml"}
    assert after["pyproject.toml"].startswith(before.get("pyproject.toml", b""))
    assert all("datamigrate" not in table for table in ("my_table", "alembic_version"))


def test_init_twice_overwrites_nothing(tmp_path: Path, sqlite_database: ScratchDatabase) -> None:
    project = made_by_alembic(tmp_path / "shop", "pyproject", sqlite_database).project
    project.quick("init")
    project.write_file("README.md", "Ours.\n")
    project.configure('target_time = "1s"')
    before = project.files()
    told = project.quick("init").err
    assert f"kept {project.root / 'pyproject.toml'}" in told
    assert f"kept {project.scripts}" in told
    assert "wrote" not in told
    assert project.files() == before
    assert not Path(str(sqlite_database.engine.url.database)).exists(), "init touches no database"


def test_init_keeps_what_pyproject_holds_and_refuses_one_that_is_broken(
    tmp_path: Path, sqlite_database: ScratchDatabase
) -> None:
    project = made_by_alembic(tmp_path / "shop", "generic", sqlite_database).project
    pyproject = project.root / "pyproject.toml"
    pyproject.write_text('# ours\n[project]\nname = "shop"')
    project.quick("init")
    assert pyproject.read_text() == (
        '# ours\n[project]\nname = "shop"\n\n[tool.datamigrate]\nscripts = "datamigrations"\n'
    )
    pyproject.write_text("[project")
    told = project.quick("init", exits=2).err
    assert f"{pyproject} cannot be read" in told
    assert pyproject.read_text() == "[project"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_script_of_each_kind_runs_as_it_is_written(
    tmp_path: Path, database: ScratchDatabase, kind: str
) -> None:
    foreign = made_by_alembic(tmp_path / "shop", "generic", database)
    project = foreign.project
    foreign.write_revision()
    project.alembic("upgrade", "head")
    foreign.insert_rows()
    project.quick("init")
    (script,) = [Path(project.quick("new", "-m", f"Try {kind}", "--kind", kind).out.strip())]
    revision = next(iter(foreign.versions.glob("*.py"))).name.partition("_")[0]
    assert f'requires = "{revision}"' in script.read_text(), "the current head"
    told = project.quick("run").err
    assert f"try_{kind}: done and verified" in told
    if kind == "delete":
        assert database.rows("SELECT id FROM my_table ORDER BY id") == [(1,), (2,)]
    else:
        assert database.rows("SELECT new FROM my_table WHERE id < 3") == [(NEW_VALUES[kind],)] * 2
    assert project.quick("run").err == "Nothing to do.\n"


def test_a_new_script_names_the_revisions_that_it_is_told(
    tmp_path: Path, sqlite_database: ScratchDatabase
) -> None:
    project = made_by_alembic(tmp_path / "shop", "generic", sqlite_database).project
    project.quick("init")
    script = Path(project.quick("new", "-m", "No revision yet").out.strip())
    assert "requires = ()" in script.read_text()
    script = Path(
        project.quick("new", "-m", "Two", "--requires", "8a6a", "--requires", "shop@head").out.strip()
    )
    assert 'requires = ("8a6a", "shop@head")' in script.read_text()


@pytest.mark.parametrize(
    "message", ['He said "hello"', 'Three """ quotes', "Back\\slash \\", "42 things", "…"]
)
def test_any_message_makes_a_script_that_can_be_read(
    tmp_path: Path, sqlite_database: ScratchDatabase, message: str
) -> None:
    project = made_by_alembic(tmp_path / "shop", "generic", sqlite_database).project
    project.quick("init")
    project.quick("new", "-m", message)
    assert len(project.json("list")["migrations"]) == 1


def test_a_message_that_is_taken_is_refused(tmp_path: Path, sqlite_database: ScratchDatabase) -> None:
    project = made_by_alembic(tmp_path / "shop", "generic", sqlite_database).project
    project.quick("init")
    project.quick("new", "-m", "Tidy")
    before = project.files()
    told = project.quick("new", "-m", "tidy", exits=1).err
    assert "There is a data migration 'tidy' already." in told
    assert project.files() == before


@pytest.mark.parametrize(
    ("template", "drivername"),
    [
        ("generic", "sqlite"),
        ("async", "sqlite+aiosqlite"),
        ("generic", "postgresql+psycopg"),
        ("async", "postgresql+asyncpg"),
        ("async", "postgresql+psycopg"),
    ],
)
def test_without_database_url_the_database_is_the_one_env_py_connects_to(
    tmp_path: Path, request: pytest.FixtureRequest, template: str, drivername: str
) -> None:
    fixture = f"{'sqlite' if drivername.startswith('sqlite') else 'postgres'}_database"
    database: ScratchDatabase = request.getfixturevalue(fixture)
    foreign = made_by_alembic(tmp_path / "shop", template, database)
    ini = foreign.project.root / "alembic.ini"
    named = database.url if template == "async" else database.sync_url
    ini.write_text(ini.read_text().replace(named, with_driver(named, drivername)))
    foreign.write_revision()
    foreign.project.alembic("upgrade", "head")
    foreign.insert_rows()
    foreign.project.scripts.mkdir()
    foreign.project.quick("new", "-m", "Tidy")
    foreign.project.quick("run")
    assert database.scalar("SELECT count(*) FROM my_table WHERE new IS NULL") == 0
    assert len(foreign.project.json("history")["runs"]) == 1


def test_the_configuration_may_be_anywhere_and_is_named_as_alembic_names_it(
    tmp_path: Path, sqlite_database: ScratchDatabase
) -> None:
    foreign = made_by_alembic(tmp_path / "shop", "generic", sqlite_database)
    project = foreign.project
    foreign.write_revision()
    project.alembic("upgrade", "head")
    foreign.insert_rows()
    project.quick("init")
    project.quick("new", "-m", "Tidy")
    (project.root / "config" / "alembic").mkdir(parents=True)
    ini = project.root / "config" / "alembic" / "alembic.ini"
    text = (project.root / "alembic.ini").read_text().replace("%(here)s/", "%(here)s/../../")
    ini.write_text(text.replace("[alembic]", "[shop]"))
    (project.root / "alembic.ini").unlink()

    assert "No Alembic configuration" in project.quick("plan", exits=2).err
    where = ("-c", "config/alembic/alembic.ini", "-n", "shop")
    assert "1 to run" in project.quick(*where, "plan").err, "before the verb"
    assert "1 to run" in project.quick("plan", *where).err, "after the verb"
    assert "1 to run" in project.quick("plan", "-n", "shop", ALEMBIC_CONFIG=str(ini)).err
    told = project.quick("plan", "-c", "config/alembic.ini", exits=2).err
    assert f"There is no Alembic configuration at {project.root / 'config' / 'alembic.ini'}." in told
    project.quick("run", *where)
    assert sqlite_database.scalar("SELECT count(*) FROM my_table WHERE new IS NULL") == 0


def test_a_section_that_is_missing_is_told(tmp_path: Path, sqlite_database: ScratchDatabase) -> None:
    project = made_by_alembic(tmp_path / "shop", "generic", sqlite_database).project
    project.quick("init")
    told = project.quick("plan", "-n", "shop", exits=2).err
    assert "Alembic cannot read its configuration" in told
    assert str(project.root / "alembic.ini") in told


def test_arguments_for_env_py_reach_it(tmp_path: Path, sqlite_database: ScratchDatabase) -> None:
    foreign = made_by_alembic(tmp_path / "shop", "generic", sqlite_database)
    project = foreign.project
    foreign.write_revision()
    project.alembic("upgrade", "head")
    env = project.root / "migrations" / "env.py"
    line = "config = context.config\n"
    asked = (
        "config.set_main_option('sqlalchemy.url', context.get_x_argument(as_dictionary=True)['database'])\n"
    )
    env.write_text(env.read_text().replace(line, line + asked))
    ini = project.root / "alembic.ini"
    ini.write_text(ini.read_text().replace(sqlite_database.sync_url, INI_URL))
    project.quick("init")
    project.quick("new", "-m", "Tidy")
    assert "KeyError: 'database'" in project.quick("plan", exits=2).err
    assert "1 to run" in project.quick("plan", "-x", f"database={sqlite_database.sync_url}", "-x", "a=b").err


def test_it_may_be_called_from_a_directory_further_down(
    tmp_path: Path, sqlite_database: ScratchDatabase
) -> None:
    foreign = made_by_alembic(tmp_path / "shop", "generic", sqlite_database)
    project = foreign.project
    foreign.write_revision()
    project.alembic("upgrade", "head")
    below = project.root / "src" / "shop"
    below.mkdir(parents=True)
    project.quick("init", directory=below)
    assert (project.root / "pyproject.toml").exists()
    script = Path(project.quick("new", "-m", "Tidy", directory=below).out.strip())
    assert script.parent == project.scripts
    told = project.quick("run", directory=below).err
    assert "tidy: done and verified, 0 rows" in told
    assert list(below.iterdir()) == []


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_a_version_table_of_its_own_is_honoured(
    tmp_path: Path, request: pytest.FixtureRequest, dialect: str
) -> None:
    database: ScratchDatabase = request.getfixturevalue(f"{dialect}_database")
    foreign = made_by_alembic(tmp_path / "shop", "generic", database)
    project = foreign.project
    options = "version_table='shop_version'"
    if dialect == "postgres":
        database.execute("CREATE SCHEMA versions")
        options += ", version_table_schema='versions'"
    env = project.root / "migrations" / "env.py"
    configured = "connection=connection, target_metadata=target_metadata"
    assert configured in env.read_text()
    env.write_text(env.read_text().replace(configured, f"{configured}, {options}"))
    foreign.write_revision()
    project.alembic("upgrade", "head")
    project.quick("init")
    project.quick("new", "-m", "Tidy")
    assert "1 to run" in project.quick("plan").err
    named_outside = project.quick("plan", DATABASE_URL=database.url).err
    assert "1 to run" in named_outside, "the version table is asked for even where the database is named"
    project.quick("run")


def test_an_env_py_that_prints_and_sets_up_logging_spoils_no_json(
    tmp_path: Path, sqlite_database: ScratchDatabase
) -> None:
    foreign = made_by_alembic(tmp_path / "shop", "generic", sqlite_database)
    project = foreign.project
    foreign.write_revision()
    project.alembic("upgrade", "head")
    env = project.root / "migrations" / "env.py"
    env.write_text(
        env.read_text()
        + "\nimport logging, os, sys\nprint('hello from env.py')\n"
        + "sys.stdout.write('and again\\n')\n"
        + "logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, force=True)\n"
        + "logging.getLogger().setLevel(logging.DEBUG)\n"
    )
    project.quick("init")
    project.quick("new", "-m", "Tidy")
    for verb in ("plan", "run"):
        told = project.datamigrate(verb, "--json")
        assert json.loads(told.out)["version"] == 1
        assert "env.py" not in told.err
        assert "alembic.runtime" not in told.err


def test_a_database_named_by_an_engine_of_the_application_is_used(
    tmp_path: Path, sqlite_database: ScratchDatabase
) -> None:
    foreign = made_by_alembic(tmp_path / "shop", "generic", sqlite_database)
    project = foreign.project
    foreign.write_revision()
    project.alembic("upgrade", "head")
    project.quick("init")
    project.quick("new", "-m", "Tidy")
    name = f"shop_{tmp_path.name}".replace("-", "_")
    (project.root / f"{name}.py").write_text(
        f"import sqlalchemy as sa\nengine = sa.create_engine({sqlite_database.sync_url!r})\n"
    )
    project.configure(f'engine = "{name}:engine"')
    elsewhere = f"sqlite:///{tmp_path / 'nowhere.db'}"
    assert "1 to run" in project.quick("plan", DATABASE_URL=elsewhere).err, "it goes before DATABASE_URL"
    told = project.quick("plan", exits=1, DATAMIGRATE_URL=elsewhere).err
    assert "(from DATAMIGRATE_URL)" in told, "which goes before the engine"
    told = project.quick(
        "plan", "--url", f"sqlite:///{tmp_path / 'x.db'}", exits=1, DATAMIGRATE_URL=elsewhere
    ).err
    assert "(from --url)" in told, "which goes before everything"
