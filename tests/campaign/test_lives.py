"""Anything may happen to a migration in any order; after each step what must always hold, holds."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from campaign.counting import Counter
from databases import PostgresServer, ScratchDatabase, created, fresh_name, sqlite_at
from datamigrate.database.ledger import steps
from datamigrate.database.ledger.store import Ledger
from datamigrate.testing.crashing import Killer, only_killed
from datamigrate.thought.lifecycle import Cause
from datamigrate.words.errors import LifecycleError
from places import LONG, SEED
from workbench import (
    ANN,
    BOB,
    FORMS,
    GIVES_A_NEW_VALUE,
    Bench,
    age_claims,
    at_every_step,
    opened,
    with_settings,
)

Databases = Callable[[], AbstractContextManager[tuple[ScratchDatabase, Path]]]

KEYS = st.integers(1, 60)
VALUES = st.integers(0, 99)


class Lives(RuleBasedStateMachine):
    """One migration, the application that goes on writing meanwhile, operators, deployments, and kills."""

    databases: Any
    faults: Any
    form = "update"

    @initialize()
    def begin(self) -> None:
        """An empty table."""
        self.stack = ExitStack()
        database, folder = self.stack.enter_context(self.databases())
        # whoever dies here is killed by us, and not by a row
        self.bench = Bench(database, folder, with_settings(max_deaths=1000))
        self.bench.table(noting=GIVES_A_NEW_VALUE)
        self.database.execute("CREATE TABLE copied (serial INTEGER)")
        self.serial = 0
        self.script = self.bench.script(FORMS[self.form])

    def teardown(self) -> None:
        """Whatever has happened, it gets done."""
        if not hasattr(self, "bench"):
            return
        try:
            self.halt(Cause.RESUME)
            if self.has_books() and self.database.scalar("SELECT state FROM datamigrate_migration") == "done":
                # what the old application has written since, nobody has promised
                self.downgrade_and_upgrade_again()
            self.run(100)
            assert self.bench.pending() == 0
            assert self.bench.standing().state == "done"
            self.what_always_holds()
        finally:
            self.stack.close()

    @property
    def database(self) -> ScratchDatabase:
        return self.bench.database

    # the application ----------------------------------------------------------------------------------

    @rule(key=KEYS, value=VALUES, is_new=st.booleans())
    def insert(self, key: int, value: int, is_new: bool) -> None:
        """A row of an old or a new version of the application; keys have gaps."""
        if self.database.scalar("SELECT count(*) FROM item WHERE id = :id", id=key):
            return
        self.database.execute(
            "INSERT INTO item (id, serial, old, new) VALUES (:id, :serial, :old, :new)",
            id=key,
            serial=self.serial,
            old=value,
            new=value * 2 if is_new else None,
        )
        self.serial += 1

    @rule(key=KEYS, value=VALUES)
    def update(self, key: int, value: int) -> None:
        """An old version writes a row, whose new value is then to be made again."""
        self.database.execute("UPDATE item SET old = :old, new = NULL WHERE id = :id", old=value, id=key)

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        """A row goes."""
        self.database.execute("DELETE FROM item WHERE id = :id", id=key)

    # runs ---------------------------------------------------------------------------------------------

    @rule(batches=st.integers(1, 3))
    def run(self, batches: int) -> None:
        """So many batches by a run that ends well."""
        ran = self.await_(self.bench.run(self.script, max_batches=batches))
        assert ran.outcome in ("done", "stopped"), ran.result

    @rule(at=st.integers(1, 60))
    def run_and_die(self, at: int) -> None:
        """A run that dies at its n-th step; its claim is found old by the next."""
        self.await_(self.die_at(at))
        if self.has_books():
            age_claims(self.database)
        self.faults.tried += 1

    async def die_at(self, at: int) -> None:
        async with opened(self.database) as database:
            at_every_step(database, Killer(at=at))
            try:
                await self.bench.run_on(database, self.script)
            except BaseException as error:
                if not only_killed(error):
                    raise

    # operators and deployments ------------------------------------------------------------------------

    @rule(cause=st.sampled_from([Cause.PAUSE, Cause.RESUME, Cause.RETRY]))
    def halt(self, cause: Cause) -> None:
        """A word of an operator, which may make no sense now."""

        async def say() -> None:
            async with opened(self.database) as database, database.writing() as connection:
                await Ledger(BOB).ensure(connection)
                await Ledger(BOB).command(connection, self.script.migration, cause, None)

        try:
            self.await_(say())
        except LifecycleError:
            return

    @rule()
    def downgrade_and_upgrade_again(self) -> None:
        """The column goes, with all that was done, and comes back empty."""

        async def unsettle() -> None:
            async with opened(self.database) as database, database.writing() as connection:
                await Ledger(ANN).ensure(connection)
                await connection.run_sync(
                    steps.unsettle, Ledger(ANN).tables, ANN, self.script.name, "downgraded"
                )

        self.await_(unsettle())
        self.database.execute("UPDATE item SET new = NULL")
        self.database.execute("DELETE FROM written")

    # what must hold -----------------------------------------------------------------------------------

    @invariant()
    def what_always_holds(self) -> None:
        """No value is wrong, and the ledger has counted just the rows that were written."""
        if not hasattr(self, "bench"):
            return
        assert self.database.rows("SELECT * FROM item WHERE new <> old * 2") == []
        if self.has_books():
            counted = self.database.scalar("SELECT coalesce(sum(rows), 0) FROM datamigrate_range")
            assert counted == len(self.bench.written()), (counted, self.bench.written())

    def has_books(self) -> bool:
        return "datamigrate_range" in sa.inspect(self.database.engine).get_table_names()

    def await_(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work)


@pytest.fixture
def fresh_databases(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Databases]:
    """Makes databases of a kind, each for one life, with a folder of its own."""

    @contextmanager
    def sqlite() -> Iterator[tuple[ScratchDatabase, Path]]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        yield sqlite_at(folder / "life.db"), folder

    @contextmanager
    def postgresql() -> Iterator[tuple[ScratchDatabase, Path]]:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        with created(server, fresh_name()) as database:
            yield database, folder

    return lambda dialect: {"sqlite": sqlite, "postgresql": postgresql}[dialect]


@pytest.mark.parametrize("form", ["update", "compute", "each batch", "free"] if LONG else ["compute"])
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_whatever_happens_in_whatever_order_no_row_is_lost_and_none_is_written_twice(
    fresh_databases: Callable[[str], Databases], dialect: str, form: str, count: Counter
) -> None:
    faults = count("kills among anything else, in any order", form, dialect)

    class Life(Lives):
        """Of this form, on this kind of database."""

    Life.databases, Life.faults, Life.form = staticmethod(fresh_databases(dialect)), faults, form
    lives = 200 if LONG else 3
    run_state_machine_as_test(
        seed(SEED)(Life),
        settings=settings(
            max_examples=lives,
            stateful_step_count=20,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    faults.survived = faults.tried
