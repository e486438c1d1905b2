"""Gates, hooks and the joint upgrade in projects that configure Alembic in ways of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from beside import GATED, alembic, hooked, revision_of, told, write_env, write_gate
from databases import ScratchDatabase, with_driver
from projects import PEOPLE, PYPROJECT, Project, add_people, named_people

FAILED = 255
SIDE = "5e6f7a8b9ca3"
KEEP_LAST = 'op.create_index("ix_people_full_name", "people", ["full_name"])'

INI = """
[{section}]
script_location = %(here)s/alembic
{options}

[loggers]
keys = root,alembic

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = console

[logger_alembic]
level = INFO
handlers =
qualname = alembic

[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = plain

[formatter_plain]
format = %(levelname)s %(message)s
"""
LOGGING = """
from logging.config import fileConfig

fileConfig(context.config.config_file_name)
"""


@pytest.fixture
def project(tmp_path: Path, database: ScratchDatabase) -> Project:
    """A project with a gate that waits for `full_name`; its database is empty."""
    project = hooked(tmp_path / "project", database)
    project.write_script("full_name")
    write_gate(project, then=KEEP_LAST)
    return project


def configured_by_ini(
    project: Project, section: str = "alembic", options: str = "", file: str = "alembic.ini"
) -> None:
    """Give the project an ini file in place of the table in pyproject.toml."""
    without = PYPROJECT[PYPROJECT.index("[tool.datamigrate]") :]
    (project.root / "pyproject.toml").write_text(without)
    (project.root / file).write_text(INI.format(section=section, options=options))


def whole_way(project: Project, database: ScratchDatabase, *where: str) -> None:
    """Up to the gate, which holds; the data; through the gate, back, and all of it in one command."""
    version = revision_of_any(project, *where)
    alembic(project, *where, "upgrade", PEOPLE)
    add_people(database, 3)
    assert "0 of 3 rows are done" in told(alembic(project, *where, "upgrade", "head", exits=FAILED))
    project.quick(*where, "run")
    assert named_people(database) == 3
    alembic(project, *where, "upgrade", "head")
    assert revision_of_any(project, *where) != version
    alembic(project, *where, "downgrade", "base")
    project.quick(*where, "upgrade", PEOPLE)
    add_people(database, 4)
    project.quick(*where, "upgrade")
    assert named_people(database) == 4
    assert revision_of_any(project, *where) == [GATED]
    assert project.json(*where, "status")["heads"] == [GATED]


def revision_of_any(project: Project, *where: str) -> list[str]:
    """Return the revisions that the database is at, whatever table they are kept in."""
    heads = project.json(*where, "plan", exits=None).get("heads", [])
    assert isinstance(heads, list)
    return heads


def test_an_ini_file_does_as_well_as_pyproject(project: Project, database: ScratchDatabase) -> None:
    configured_by_ini(project)
    whole_way(project, database)


def test_a_section_of_its_own_is_named_by_n(project: Project, database: ScratchDatabase) -> None:
    configured_by_ini(project, "shop")
    whole_way(project, database, "-n", "shop")


def test_an_ini_file_elsewhere_is_named_by_c(project: Project, database: ScratchDatabase) -> None:
    (project.root / "config").mkdir()
    configured_by_ini(project, file="config/shop.ini")
    ini = project.root / "config" / "shop.ini"
    ini.write_text(ini.read_text().replace("%(here)s/alembic", "%(here)s/../alembic"))
    whole_way(project, database, "-c", "config/shop.ini")


def test_alembic_called_from_elsewhere_finds_the_scripts_beside_its_configuration(
    project: Project, database: ScratchDatabase, tmp_path: Path
) -> None:
    configured_by_ini(project)
    alembic(project, "upgrade", PEOPLE)
    add_people(database, 3)
    elsewhere = Project(tmp_path, project.variables)
    said = told(alembic(elsewhere, "-c", "project/alembic.ini", "upgrade", "head", exits=FAILED))
    assert "0 of 3 rows are done" in said


def test_a_version_table_of_another_name_is_honoured(project: Project, database: ScratchDatabase) -> None:
    write_env(project, options="version_table='shop_version', transaction_per_migration=True")
    whole_way(project, database)
    assert database.rows("SELECT version_num FROM shop_version") == [(GATED,)]


def test_a_version_table_in_another_schema_is_honoured(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.write_script("full_name")
    write_gate(project, then=KEEP_LAST)
    postgres_database.execute("CREATE SCHEMA versions")
    write_env(project, options="version_table='shop', version_table_schema='versions'")
    whole_way(project, postgres_database)
    assert postgres_database.rows("SELECT version_num FROM versions.shop") == [(GATED,)]


def test_revisions_may_live_in_several_places(project: Project, database: ScratchDatabase) -> None:
    more = project.root / "more"
    more.mkdir()
    gate = project.root / "alembic" / "versions" / f"{GATED}.py"
    gate.rename(more / gate.name)
    pyproject = project.root / "pyproject.toml"
    places = 'version_locations = ["%(here)s/alembic/versions", "%(here)s/more"]\n\n[tool.datamigrate]'
    pyproject.write_text(pyproject.read_text().replace("[tool.datamigrate]", places))
    whole_way(project, database)
    (more / "late.py").write_text(gate_not_first())
    (finding,) = project.json("check", "--offline", exits=3)["findings"]
    assert finding["file"] == "more/late.py"


def gate_not_first() -> str:
    return (
        f'revision = "8b9cadbecfd6"\ndown_revision = "{GATED}"\n\n'
        'from alembic import op\n\n\ndef upgrade():\n    op.drop_table("people")\n    op.require_data("full_name")\n'
    )


def test_a_url_built_from_settings_in_env_py_is_the_one_that_is_used(
    project: Project, database: ScratchDatabase
) -> None:
    (project.root / "settings.py").write_text(f"class Settings:\n    dsn = {database.url!r}\n")
    env = project.root / "alembic" / "env.py"
    env.write_text(
        env.read_text().replace(
            'sa.make_url(os.environ["DATABASE_URL"])',
            "sa.make_url(settings().dsn.replace('+asyncpg', '+psycopg').replace('+aiosqlite', ''))",
        )
    )
    env.write_text(
        "import runpy\nfrom pathlib import Path\n\n\ndef settings():\n"
        "    return runpy.run_path(str(Path(__file__).parent.parent / 'settings.py'))['Settings']\n\n"
        + env.read_text()
    )
    whole_way(Project(project.root), database)


def test_an_env_py_that_configures_logging_spoils_no_upgrade(
    project: Project, database: ScratchDatabase
) -> None:
    configured_by_ini(project)
    write_env(project, before=LOGGING)
    alembic(project, "upgrade", PEOPLE)
    add_people(database, 3)
    finished = project.datamigrate("upgrade", "--json")
    assert finished.out.startswith("{")
    assert "full_name: done and verified, 3 rows" in finished.err, "what comes after env.py is still told"
    assert revision_of(database) == [GATED]


def test_an_async_engine_of_another_driver_name_is_the_same_database(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.write_script("full_name")
    write_env(project, is_async=True)
    url = with_driver(postgres_database.url, "postgresql").replace("127.0.0.1", "localhost")
    project.quick("upgrade", "--url", url)
    assert revision_of(postgres_database) == ["2b3c4d5e6f70"]


def test_a_history_of_several_heads_is_walked_by_each(project: Project, database: ScratchDatabase) -> None:
    project.write_revision(SIDE, None, labels=("side",))
    project.write_script("sided", requires=(GATED, "side@head"))
    alembic(project, "upgrade", PEOPLE)
    add_people(database, 3)
    alembic(project, "upgrade", "side@head")
    assert revision_of(database) == [PEOPLE, SIDE]
    assert "0 of 3 rows" in told(alembic(project, "upgrade", "heads", exits=FAILED))
    project.quick("upgrade")
    assert revision_of(database) == sorted([GATED, SIDE])
    assert {s["action"] for s in project.json("plan")["steps"]} == {"done"}
    alembic(project, "downgrade", "side@base")
    steps = {s["name"]: s["action"] for s in project.json("plan")["steps"]}
    assert steps == {"full_name": "done", "sided": "blocked"}


def test_a_database_at_a_revision_that_this_checkout_lacks_is_left_alone(
    project: Project, database: ScratchDatabase
) -> None:
    project.upgrade(PEOPLE)
    database.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
    before = database.dump()
    for call in (("upgrade",), ("plan", "--upgrade"), ("check",)):
        said = project.quick(*call, exits=4).err
        assert "The database is at revision fedcba987654" in said
        assert "Check out the code that the database was upgraded with" in said
    facts = {d["about"]: d for d in project.json("doctor", exits=1)["diagnoses"]}
    assert facts["schema"]["verdict"] == "wrong"
    assert "fedcba987654" in facts["schema"]["said"]
    assert database.dump() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("revision = 'aa11'\ndown_revision = 'nowhere'\n", "nowhere"),
        ("revision = 'aa11'\ndown_revision = None\n\n1 / 0\n", "division by zero"),
        ("revision = 'aa11'\ndown_revision = (\n", "was never closed"),
    ],
)
@pytest.mark.filterwarnings("ignore:Revision .* is not present")
def test_a_revision_that_alembic_cannot_load_is_told_in_words(
    tmp_path: Path, sqlite_database: ScratchDatabase, text: str, words: str
) -> None:
    project = hooked(tmp_path / "project", sqlite_database)
    (project.root / "alembic" / "versions" / "broken.py").write_text(text)
    for call in (("plan",), ("check", "--offline"), ("doctor",)):
        said = project.quick(*call, exits=2).err
        assert "Alembic's revisions cannot be loaded" in said
        assert words in said
        assert "Unexpected" not in said
