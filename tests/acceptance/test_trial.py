"""A data migration on trial: what its author is given, and what it must stand, or else is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from databases import PostgresServer
from datamigrate.faces.project import Call, find_project
from datamigrate.testing import CannotMake, NotProven, Trial, defaults, proofs
from datamigrate.testing.defaults import Case
from datamigrate.testing.pointing import Pointer
from datamigrate.testing.scratch import Workshop
from datamigrate.testing.stage import Grounds
from datamigrate.words.errors import BatchFailed, ConfigurationError, DatamigrateError
from projects import FULL_NAME, NICK, NICKNAMES, Project, project_in

PUT = Callable[..., Trial]
PEOPLE_ROWS = [{"first": f"First{i}", "last": f"Last{i}", "full_name": None} for i in range(5)]

SHOUT = """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET first = first || '!'"))
"""
ONCE = """
async def migrate(session):
    await session.execute(sa.update(people).where(people.c.full_name.is_(None)).values(full_name=people.c.first))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_in(tmp_path / "project")


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> str | None:
    """Where scratch databases are made: in files, or on a server."""
    if request.param == "sqlite":
        return None
    found: PostgresServer = request.getfixturevalue("postgres_server")
    return found.url


@pytest.fixture
def workshop(tmp_path: Path, server: str | None) -> Iterator[Workshop]:
    made = Workshop(tmp_path, server)
    yield made
    made.close()


@pytest.fixture
def trial_of(project: Project, workshop: Workshop) -> PUT:
    """What the fixture `data_migration` is, for the project of this test."""
    return lambda name, batch_size=3: Trial(grounds_of(project, workshop).stage(name, batch_size))


@pytest.fixture
def on_sqlite(project: Project, tmp_path: Path) -> PUT:
    """The same on SQLite alone, for what no database has a part in."""
    workshop = Workshop(tmp_path)
    return lambda name, batch_size=3: Trial(grounds_of(project, workshop).stage(name, batch_size))


def grounds_of(project: Project, workshop: Workshop, **how: Any) -> Grounds:
    found = find_project(Call(project.root))
    pointer = Pointer(
        found.history, how.get("variables", ("DATABASE_URL",)), how.get("point_at", lambda _: None)
    )
    return Grounds(found, workshop, pointer)


def case_of(project: Project, put: PUT, file: Path, **rows: Any) -> Case:
    return Case(file, find_project(Call(project.root)), put, rows)


def with_people(trial: Trial) -> Trial:
    trial.insert("people", *PEOPLE_ROWS)
    return trial


# what an author is given


def test_a_trial_gives_back_rows_and_a_report(project: Project, trial_of: PUT) -> None:
    project.write_script("names", FULL_NAME)
    trial = with_people(trial_of("names"))
    assert trial.pending() == 5
    ran = trial.run()
    assert (ran.outcome, ran.batches, ran.report.exit) == ("done", 2, 0)
    assert [row["full_name"] for row in trial.rows("people")] == [f"First{i} Last{i}" for i in range(5)]
    assert next((d.key, d.changed) for d in ran.changes) == ("id=1", ("full_name",))


def test_it_stops_after_so_many_batches_and_goes_on(project: Project, on_sqlite: PUT) -> None:
    project.write_script("names", FULL_NAME)
    trial = with_people(on_sqlite("names", batch_size=1))
    assert (trial.stop_after(batches=3).outcome, trial.pending()) == ("stopped", 2)
    assert (trial.resume().outcome, trial.pending()) == ("done", 0)


def test_the_schema_is_at_the_required_revision_and_no_further(project: Project, on_sqlite: PUT) -> None:
    project.write_script("names", FULL_NAME)
    project.write_script("nicks", NICK, requires=NICKNAMES)
    assert "nick" not in on_sqlite("names").stage.tables["people"].c
    assert "nick" in on_sqlite("nicks").stage.tables["people"].c


def test_what_it_depends_on_is_done_first_and_neither_an_operator_nor_a_window_is_waited_for(
    project: Project, on_sqlite: PUT
) -> None:
    project.write_script("names", FULL_NAME.replace("values=", "hold=True, window='03:33-03:34', values="))
    body = NICK.replace("people.c.first", "people.c.full_name").replace("row.first", "row.full_name")
    project.write_script("nicks", body, requires=NICKNAMES, depends_on=("names",))
    trial = on_sqlite("nicks")
    trial.insert("people", {"first": "Ada", "last": "Byron", "full_name": None, "nick": None})
    trial.run()
    assert [(row["full_name"], row["nick"]) for row in trial.rows("people")] == [("Ada Byron", "Ad")]


def test_a_run_that_fails_raises_its_own_error(project: Project, on_sqlite: PUT) -> None:
    project.write_script("nicks", NICK.replace("row.first[:2]", "row.first.upper(7)"), requires=NICKNAMES)
    with pytest.raises(BatchFailed, match="nicks"):
        with_people(on_sqlite("nicks")).run()


def test_each_trial_has_a_database_of_its_own_that_is_gone_in_the_end(
    project: Project, workshop: Workshop, trial_of: PUT
) -> None:
    project.write_script("names", FULL_NAME)
    one, other = with_people(trial_of("names")), trial_of("names")
    assert (len(one.rows("people")), other.rows("people")) == (5, [])
    workshop.close()
    with pytest.raises((DatamigrateError, sa.exc.DBAPIError)):
        one.rows("people")


def test_a_project_whose_env_goes_elsewhere_is_refused_before_anything_is_done(
    project: Project, tmp_path: Path
) -> None:
    project.write_script("names", FULL_NAME)
    theirs = tmp_path / "theirs.db"
    theirs.touch()
    env = project.root / "alembic" / "env.py"
    env.write_text(env.read_text().replace('os.environ["DATABASE_URL"]', f'"sqlite:///{theirs}"'))
    with pytest.raises(ConfigurationError, match=r"env\.py goes to sqlite.*theirs\.db, not to the scratch"):
        grounds_of(project, Workshop(tmp_path)).stage("names", 3)
    assert theirs.read_bytes() == b""


def test_a_project_may_say_itself_how_its_env_is_led(project: Project, tmp_path: Path) -> None:
    project.write_script("names", FULL_NAME)
    settings = project.root / "settings.txt"
    env = project.root / "alembic" / "env.py"
    env.write_text(
        env.read_text().replace(
            'os.environ["DATABASE_URL"]', f'__import__("pathlib").Path("{settings}").read_text()'
        )
    )
    workshop = Workshop(tmp_path)
    trial = Trial(grounds_of(project, workshop, point_at=settings.write_text).stage("names", 3))
    assert with_people(trial).run().outcome == "done"


def test_an_asynchronous_env_is_given_an_asynchronous_url(project: Project, on_sqlite: PUT) -> None:
    env = project.root / "alembic" / "env.py"
    env.write_text(ASYNC_ENV)
    project.write_script("names", FULL_NAME)
    assert with_people(on_sqlite("names")).run().outcome == "done"


ASYNC_ENV = """
import asyncio
import os

from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

engine = create_async_engine(os.environ["DATABASE_URL"], poolclass=NullPool)


def migrate(connection):
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def main():
    async with engine.connect() as connection:
        await connection.run_sync(migrate)


asyncio.run(main())
"""


# what stands it


def test_a_good_script_stands_everything(project: Project, trial_of: PUT) -> None:
    project.write_script("names", FULL_NAME)
    trial_of("names")
    for prove in (Trial.assert_idempotent, Trial.assert_resumable, Trial.assert_converges):
        prove(with_people(trial_of("names")))


def test_it_dies_once_in_each_transaction_in_which_it_works_or_at_every_statement(
    project: Project, on_sqlite: PUT, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_script("names", FULL_NAME)
    assert proofs.is_resumable(with_people(on_sqlite("names", batch_size=5)).stage) == 2
    monkeypatch.setattr(proofs, "CLAIMS", "UPDATE datamigrate_run")  # the last statement, to be quick
    assert proofs.is_resumable(with_people(on_sqlite("names", batch_size=5)).stage, thorough=True) == 2


def test_what_differs_in_every_run_is_not_held_against_it(project: Project, on_sqlite: PUT) -> None:
    project.write_script("nicks", NICK.replace("row.first[:2]", "str(uuid4())"), requires=NICKNAMES)
    file = project.scripts / "nicks.py"
    file.write_text(
        file.read_text().replace("import sqlalchemy", "from uuid import uuid4\n\nimport sqlalchemy")
    )
    with_people(on_sqlite("nicks")).assert_resumable()


def test_the_application_writes_by_the_authors_functions(project: Project, on_sqlite: PUT) -> None:
    project.write_script("names", FULL_NAME)
    trial = with_people(on_sqlite("names"))
    insert = sa.text("INSERT INTO people (id, first, last) SELECT max(id) + 100, 'New', 'One' FROM people")
    trial.assert_converges(insert=lambda connection: connection.execute(insert))
    assert "New One" in [row["full_name"] for row in trial.rows("people")]


def gated(project: Project, gate: str = 'op.require_data("names")') -> None:
    file = project.write_revision(
        "3c4d5e6f7081", NICKNAMES, upgrade=f'{gate}; op.drop_column("people", "first")'
    )
    file.write_text(file.read_text().replace("import sqlalchemy as sa", "import datamigrate.alembic"))


def test_a_gate_that_holds_is_closed_over_pending_rows_and_open_afterwards(
    project: Project, trial_of: PUT
) -> None:
    project.write_script("names", FULL_NAME)
    gated(project)
    with_people(trial_of("names")).assert_gate_holds()


# what does not


def test_a_script_that_changes_rows_again_is_not_idempotent(project: Project, on_sqlite: PUT) -> None:
    project.write_script("shout", SHOUT)
    with pytest.raises(NotProven) as raised:
        with_people(on_sqlite("shout")).assert_idempotent()
    assert [line.split() for line in str(raised.value).splitlines()[2:4]] == [
        ["table", "key", "column", "done", "once", "done", "twice"],
        ["people", "id=1", "first", "First0!", "First0!!"],
    ]
    assert "add `async def remaining(session)`" in str(raised.value)


def test_a_predicate_that_selects_what_is_done_is_not_idempotent(project: Project, on_sqlite: PUT) -> None:
    project.write_script(
        "names",
        FULL_NAME.replace("people.c.full_name.is_(None)", "sa.true()").replace(
            "people.c.first +", "people.c.full_name + people.c.first +"
        ),
    )
    trial = on_sqlite("names")
    trial.insert("people", {"first": "Ada", "last": "Byron", "full_name": ""})
    with pytest.raises(
        NotProven, match=r"second pass over the same batch changed 1 rows again \(full_name"
    ) as raised:
        trial.assert_idempotent()
    assert "`pending` must not select a row that is done" in str(raised.value)


BY_MEMORY = """
batches = []


@each_batch(people, pending=people.c.full_name.is_(None))
async def migrate(batch):
    batches.append(batch)
    await batch.execute(sa.update(people).where(batch.rows).values(full_name=f"batch {len(batches)}"))
"""


def test_a_script_that_remembers_earlier_batches_is_not_resumable(project: Project, on_sqlite: PUT) -> None:
    project.write_script("names", BY_MEMORY)
    with pytest.raises(NotProven, match=r"names is not resumable: killed at step 2 .* unlike an") as raised:
        with_people(on_sqlite("names")).assert_resumable()
    assert ["people", "id=4", "full_name", "batch", "2", "batch", "1"] in [
        line.split() for line in str(raised.value).splitlines()
    ]


def test_what_the_application_writes_meanwhile_must_not_be_left_behind(
    project: Project, trial_of: PUT
) -> None:
    project.write_script("names", ONCE)
    with pytest.raises(NotProven, match="has not converged") as raised:
        with_people(trial_of("names")).assert_converges()
    assert "NULL" in str(raised.value)


WHOLE_ROWS = """
remembered = []


@each_batch(people, pending=people.c.full_name.is_(None))
async def migrate(batch):
    if not remembered:
        remembered.extend(dict(row._mapping) for row in await batch.execute(sa.select(
            people.c.id, people.c.first, people.c.last)))
    for row in remembered:
        known = await batch.execute(sa.select(people.c.id).where(people.c.id == row["id"]))
        if known.first() is None:
            await batch.execute(sa.insert(people).values(row))
    await batch.execute(sa.update(people).where(batch.rows).values(full_name="done"))
"""


def test_rows_that_the_application_has_deleted_must_not_come_back(project: Project, on_sqlite: PUT) -> None:
    project.write_script("names", WHOLE_ROWS)
    with pytest.raises(NotProven, match="tramples on the application") as raised:
        with_people(on_sqlite("names", batch_size=1)).assert_converges()
    assert "Change rows where they are" in str(raised.value)


def test_nothing_is_proven_by_rows_of_which_none_is_pending(project: Project, on_sqlite: PUT) -> None:
    project.write_script("names", FULL_NAME)
    trial = on_sqlite("names")
    trial.insert("people", {"full_name": "Ada Byron"})
    for prove in (trial.assert_idempotent, trial.assert_resumable):
        with pytest.raises(NotProven, match="Nothing is proven of names"):
            prove()


def test_a_gate_that_is_missing_is_told(project: Project, on_sqlite: PUT) -> None:
    project.write_script("names", FULL_NAME)
    gated(project, gate="pass")
    with pytest.raises(NotProven, match=r'No revision waits for names(.|\n)*op\.require_data\("names"\)'):
        with_people(on_sqlite("names")).assert_gate_holds()
    with pytest.raises(NotProven, match="The gate does not hold: revision 3c4d5e6f7081 was applied"):
        with_people(on_sqlite("names")).assert_gate_holds("3c4d5e6f7081")


def test_masked_columns_are_not_shown(project: Project, on_sqlite: PUT) -> None:
    project.write_script("names", BY_MEMORY.replace("pending=", 'mask=["full_name"], pending='))
    with pytest.raises(NotProven, match=r"\(masked\)") as raised:
        with_people(on_sqlite("names")).assert_resumable()
    assert "batch 1" not in str(raised.value)


# the default tests, each with a script that deserves it

CREATES = """
async def migrate(session):
    await session.execute(sa.text("CREATE INDEX mine ON people (first)"))
"""
MOVES = """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET id = id + 1000 WHERE id < 1000"))
"""
INSERTS = """
async def migrate(session):
    await session.execute(sa.insert(people).values(first="Ada"))
"""


@pytest.mark.parametrize(
    ("body", "test", "said"),
    [
        (CREATES, defaults.test_changes_no_schema, "The script changes the schema"),
        (MOVES, defaults.test_never_writes_its_key, r"id=1 +key +id=1 +id=1001"),
        (INSERTS, defaults.test_works_on_an_empty_table, "changed rows of an empty database"),
        (SHOUT, defaults.test_idempotent, "is not idempotent"),
        (BY_MEMORY, defaults.test_resumable, "is not resumable"),
    ],
)
def test_a_script_that_deserves_it_fails_the_default_test(
    project: Project, on_sqlite: PUT, body: str, test: Callable[[Case], None], said: str
) -> None:
    file = project.write_script("bad", body)
    with pytest.raises(NotProven, match=said):
        test(case_of(project, on_sqlite, file))


def test_a_revision_that_is_not_there_is_told(project: Project, on_sqlite: PUT) -> None:
    file = project.write_script("names", FULL_NAME, requires="ffff")
    with pytest.raises(DatamigrateError, match="requires names 'ffff'"):
        defaults.test_required_revisions_exist(case_of(project, on_sqlite, file))
    file = project.write_script("names", FULL_NAME, depends_on=("nobody",))
    with pytest.raises(DatamigrateError, match="depends on nobody"):
        defaults.test_required_revisions_exist(case_of(project, on_sqlite, file))


def test_an_index_in_another_order_is_none_under_the_key(project: Project, on_sqlite: PUT) -> None:
    columns = 'op.create_index("other_way", "people", ["last", "first"], unique=True)'
    project.write_revision("3c4d5e6f7081", NICKNAMES, upgrade=columns)
    body = FULL_NAME.replace("people,", "people, key=(people.c.first, people.c.last),", 1)
    file = project.write_script("names", body, requires="3c4d5e6f7081")
    with pytest.raises(DatamigrateError, match=r"no index of people begins with its key \(first, last\)"):
        defaults.test_has_an_index_under_its_key(case_of(project, on_sqlite, file))


def test_a_script_that_imports_the_application_does_not_load_alone(project: Project, on_sqlite: PUT) -> None:
    (project.root / "myapp.py").write_text("")
    file = project.write_script("names", FULL_NAME)
    file.write_text(file.read_text().replace("import sqlalchemy", "import myapp\nimport sqlalchemy"))
    fine = project.write_script("nicks", NICK)
    with pytest.raises(
        NotProven, match=r"names\.py:3: No module named 'myapp'(.|\n)*import nothing from the"
    ):
        defaults.test_imports_alone(case_of(project, on_sqlite, file))
    defaults.test_imports_alone(case_of(project, on_sqlite, fine))


# rows that are made up


RICH = """op.create_table("country", sa.Column("code", sa.CHAR(2), primary_key=True))
    op.create_table("shop",
        sa.Column("tenant", sa.SmallInteger, primary_key=True), sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("country", sa.CHAR(2), sa.ForeignKey("country.code"), nullable=False),
        sa.Column("parent", sa.Uuid), sa.Column("slug", sa.String(12), nullable=False, unique=True),
        sa.Column("status", sa.String(8), sa.CheckConstraint("status IN ('open', 'shut')"), nullable=False),
        sa.Column("size", sa.Integer, sa.CheckConstraint("size > 5"), nullable=False))
    op.create_table("sale",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("tenant", sa.SmallInteger, nullable=False), sa.Column("shop", sa.Uuid, nullable=False),
        sa.Column("price", sa.Numeric(4, 2), nullable=False), sa.Column("weight", sa.Float, nullable=False),
        sa.Column("paid", sa.Boolean, nullable=False), sa.Column("day", sa.Date, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False), sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("extra", sa.JSON, nullable=False), sa.Column("clock", sa.Time, nullable=False),
        sa.Column("kind", sa.Enum("a", "b", name="kind"), nullable=False), sa.Column("total", sa.Integer),
        sa.ForeignKeyConstraint(["tenant", "shop"], ["shop.tenant", "shop.id"]))"""

TOTALS = """
sale = sa.table("sale", sa.column("id", sa.Integer), sa.column("kind", sa.Enum("a", "b", name="kind")), sa.column("price"), sa.column("total"))
migrate = update_rows(sale, pending=sa.and_(sale.c.total.is_(None), sale.c.kind == "b"), values={sale.c.total: 7})
"""


def test_rows_are_made_up_with_parents_for_any_types_and_constraints(project: Project, trial_of: PUT) -> None:
    project.write_revision("3c4d5e6f7081", NICKNAMES, upgrade=RICH)
    project.write_script("totals", TOTALS, requires="3c4d5e6f7081")
    trial = trial_of("totals")
    trial.populate(6)
    sales, shops = trial.rows("sale"), trial.rows("shop")
    assert len(sales) >= 6
    assert {row["shop"] for row in sales} <= {row["id"] for row in shops}
    assert {row["status"] for row in shops} <= {"open", "shut"}
    assert trial.run().outcome == "done"


def test_what_an_author_leaves_out_of_a_row_is_made_up(project: Project, trial_of: PUT) -> None:
    project.write_revision("3c4d5e6f7081", NICKNAMES, upgrade=RICH)
    project.write_script("totals", TOTALS, requires="3c4d5e6f7081")
    trial = trial_of("totals")
    [shop] = trial.insert("shop", {"slug": "mine", "status": "shut", "size": 9})
    assert [row["slug"] for row in trial.rows("shop")] == ["mine"]
    trial.insert("sale", {"tenant": shop["tenant"], "shop": shop["id"], "kind": "b", "total": None})
    assert trial.pending() == 1
    with pytest.raises(CannotMake, match="sale has no column colour"):
        trial.insert("sale", {"colour": "red"})


HARD = """op.create_table("part", sa.Column("id", sa.Integer, primary_key=True), sa.Column("done", sa.Text),
        sa.Column("code", sa.Text, sa.CheckConstraint("code LIKE 'A-%' AND length(code) = 9"), nullable=False))"""
PARTS = """
part = sa.table("part", sa.column("id"), sa.column("code"), sa.column("done"))
migrate = update_rows(part, pending=part.c.done.is_(None), values={part.c.done: part.c.code})
"""


def test_rows_that_cannot_be_made_up_are_asked_for_and_can_be_given(project: Project, on_sqlite: PUT) -> None:
    project.write_revision("3c4d5e6f7081", NICKNAMES, upgrade=HARD)
    file = project.write_script("parts", PARTS, requires="3c4d5e6f7081")
    with pytest.raises(CannotMake, match=r"No valid row of part(.|\n)*CHECK(.|\n)*def datamigrate_rows\(\):"):
        defaults.test_idempotent(case_of(project, on_sqlite, file))
    rows = {"part": [{"code": f"A-{n:07}"} for n in range(3)]}
    defaults.test_idempotent(case_of(project, on_sqlite, file, parts=rows))
    defaults.test_idempotent(case_of(project, on_sqlite, file, parts=lambda trial: trial.fill(rows)))


def test_rows_of_which_none_is_pending_are_asked_for(project: Project, on_sqlite: PUT) -> None:
    body = FULL_NAME.replace("people.c.full_name.is_(None)", "sa.func.length(people.c.first) > 500")
    file = project.write_script("names", body)
    with pytest.raises(CannotMake, match="rows of people were made, and names finds none of them pending"):
        defaults.test_idempotent(case_of(project, on_sqlite, file))
