"""One script run in this process, the way `datamigrate run` does it, with hooks for a test to interfere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

import datamigrate
from databases import ScratchDatabase
from datamigrate.authoring.batch import Batch
from datamigrate.authoring.forms import ComputeRows, EachBatch, Form, UpdateRows
from datamigrate.authoring.loading import load_script
from datamigrate.authoring.script import Script
from datamigrate.database.address import address
from datamigrate.database.database import Database, open_database
from datamigrate.database.ledger.store import Ledger
from datamigrate.doing.effort import Brake, Workplace
from datamigrate.doing.owner import this_process
from datamigrate.doing.result import Result
from datamigrate.doing.runner import run_plan
from datamigrate.doing.settings import Budget, Settings
from datamigrate.doing.stopping import Stop
from datamigrate.testing.crashing import COMMIT
from datamigrate.testing.watching import after
from datamigrate.thought.pacing import Limits
from datamigrate.thought.planner import Action, Plan, Step
from datamigrate.words.claim import Owner
from datamigrate.words.events import Event, publish_to
from datamigrate.words.migration import Migration

NAME = "job"
BATCH = 4
GIVES_A_NEW_VALUE = "OLD.new IS NULL AND NEW.new IS NOT NULL"
# no batch can be slow enough to shrink, so that a loaded machine changes nothing
SMALL = Settings(first_rows=BATCH, limits=Limits(target_time=600, max_rows=BATCH))

ANN = Owner("ann", "first-host", 11, "-", "aaaa")
BOB = Owner("bob", "second-host", 22, "-", "bbbb")

# what every script here changes: `serial` tells the rows apart whatever their key is
ITEM_COLUMNS = "serial INTEGER, old INTEGER, new INTEGER"
HEAD = f'''"""A script for a test."""

import sqlalchemy as sa

from datamigrate import compute_rows, delete_rows, each_batch, update_rows

name = "{NAME}"
requires = ()
'''

HOME = """
item = sa.table("item", sa.column("id", sa.Integer), sa.column("serial", sa.Integer),
                sa.column("old", sa.Integer), sa.column("new", sa.Integer))
pending = item.c.new.is_(None)
"""

# the five forms over `item`, each doubling `old` into `new`, or deleting
FORMS = {
    "update": HOME + "migrate = update_rows(item, pending=pending, values={item.c.new: item.c.old * 2})",
    "delete": HOME + "migrate = delete_rows(item, pending=pending)",
    "compute": HOME
    + """
@compute_rows(item, pending=pending, reads=[item.c.old], writes=[item.c.new])
def migrate(row):
    return {"new": row.old * 2}
""",
    "each batch": HOME
    + """
@each_batch(item, pending=pending)
async def migrate(batch):
    copied = sa.table("copied", sa.column("serial"))
    await batch.execute(sa.insert(copied).from_select(["serial"], sa.select(item.c.serial).where(batch.rows)))
    await batch.execute(sa.update(item).where(batch.rows).values(new=item.c.old * 2))
""",
    "free": HOME
    + """
async def migrate(session):
    some = sa.select(item.c.id).where(pending).order_by(item.c.id).limit(4)
    await session.execute(sa.update(item).where(item.c.id.in_(some)).values(new=item.c.old * 2))


async def remaining(session):
    return await session.scalar(sa.select(sa.func.count()).select_from(item).where(pending))
""",
}

ITEM = sa.table(
    "item",
    sa.column("id", sa.Integer),
    sa.column("serial", sa.Integer),
    sa.column("old", sa.Integer),
    sa.column("new", sa.Integer),
)
PENDING = ITEM.c.new.is_(None)
DOUBLED = sa.update(ITEM).values(new=ITEM.c.old * 2)

SomeEvent = TypeVar("SomeEvent", bound=Event)


@dataclass(frozen=True)
class Standing:
    """What the ledger says of a migration with its one range."""

    state: str
    rows: int
    left_alone: int
    batches: int
    sweep: int
    exhausted: bool
    cursor: str | None
    generation: int
    owner: str | None


@dataclass(frozen=True)
class Ran:
    """What came of a run, and what it told."""

    result: Result
    events: tuple[Event, ...]

    @property
    def outcome(self) -> str:
        """`done`, `stopped` or `failed`."""
        return self.result.outcome

    def of(self, kind: type[SomeEvent]) -> list[SomeEvent]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


@dataclass(frozen=True)
class Bench:
    """A scratch database, a folder for scripts, and how to run them."""

    database: ScratchDatabase
    folder: Path
    settings: Settings = SMALL

    def script(self, body: str) -> Script:
        """A script whose text is the usual head and this body."""
        file = self.folder / "20260101_0000_job.py"
        file.write_text(HEAD + body)
        return load_script(file)

    def form(self, form: Form, checksum: str = "0" * 16) -> Script:
        """A script made of a form, whose functions can be the test's own."""
        return Script(migration(checksum=checksum, kind=form.kind), form)

    def table(
        self, key: str = "id INTEGER PRIMARY KEY", rows: Iterable[tuple[Any, ...]] = (), noting: str = ""
    ) -> None:
        """Create `item` with this key, its rows, and `written`, to which a trigger adds each row written, or
        each that is updated so that the condition `noting` holds."""
        log = write_log(self.database.dialect, noting)
        self.database.script(f"CREATE TABLE item ({ITEM_COLUMNS}, {key}); {log}")
        self.fill(rows)

    def fill(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows, given by their keys; the serial numbers go on from 0."""
        values = [(serial, serial % 97, None, *key) for serial, key in enumerate(rows)]
        if not values:
            return
        names = [f"v{i}" for i in range(len(values[0]))]
        places = ", ".join(f":{name}" for name in names)
        with self.database.engine.begin() as connection:
            connection.execute(
                sa.text(f"INSERT INTO item VALUES ({places})"),
                [dict(zip(names, row, strict=True)) for row in values],
            )

    async def run(
        self,
        script: Script,
        *,
        settings: Settings | None = None,
        max_batches: int | None = None,
        batch_size: int | None = None,
        owner: Owner | None = None,
        wait: bool = True,
        meddle: Callable[[Database], None] | None = None,
        listen: Callable[[Event], None] | None = None,
        brakes: tuple[Brake, ...] = (),
        others: Brake = lambda _: None,
        stop: Stop | None = None,
    ) -> Ran:
        """Run the script as a process of its own would; `meddle` gets at its connections first."""
        async with opened(self.database) as database:
            if meddle:
                meddle(database)
            return await self.run_on(
                database,
                script,
                settings=settings,
                max_batches=max_batches,
                batch_size=batch_size,
                owner=owner,
                wait=wait,
                listen=listen,
                brakes=brakes,
                others=others,
                stop=stop,
            )

    async def run_on(
        self,
        database: Database,
        script: Script,
        *,
        settings: Settings | None = None,
        max_batches: int | None = None,
        batch_size: int | None = None,
        owner: Owner | None = None,
        wait: bool = True,
        listen: Callable[[Event], None] | None = None,
        brakes: tuple[Brake, ...] = (),
        others: Brake = lambda _: None,
        stop: Stop | None = None,
    ) -> Ran:
        """Run the script by an owner of its own on a database that is open already."""
        heard: list[Event] = []
        publish = publish_to(heard.append, *([listen] if listen else []))
        ledger = Ledger(owner or this_process())
        stop = stop or Stop(Budget(max_batches=max_batches))
        async with database.writing() as connection:
            await ledger.ensure(connection)
        place = Workplace(database, ledger, stop, publish, wait, brakes=brakes, others=others)
        plan = Plan((Step(script.migration, Action.RUN, "never run"),))
        report = await run_plan(place, plan, {script.name: script}, settings or self.settings, batch_size)
        return Ran(report.results[0], tuple(heard))

    async def run_until_done(self, script: Script, batch_size: int | None = None) -> int:
        """Run one batch at a time, each by an owner of its own; how many that took."""
        async with opened(self.database) as database:
            for number in range(1, 100):
                ran = await self.run_on(database, script, max_batches=1, batch_size=batch_size)
                if ran.outcome == "done":
                    return number
                assert ran.outcome == "stopped", ran.result
        raise AssertionError("it never ends")

    def standing(self) -> Standing:
        """What the ledger says now."""
        found = self.database.rows(
            "SELECT m.state, r.rows, r.left_alone, r.batches, r.sweep, r.exhausted, r.cursor, "
            "r.generation, r.owner FROM datamigrate_migration m "
            "JOIN datamigrate_range r ON r.migration = m.name WHERE m.name = :name",
            name=NAME,
        )
        return Standing(*found[0])

    def written(self) -> list[int]:
        """The serial numbers of the rows written, one for each time, in order of number."""
        return [serial for (serial,) in self.database.rows("SELECT serial FROM written ORDER BY serial")]

    def pending(self) -> int:
        """How many rows have no new value."""
        return int(self.database.scalar("SELECT count(*) FROM item WHERE new IS NULL"))

    def wrong(self) -> list[tuple[Any, ...]]:
        """Rows whose new value is not the double of the old one."""
        return self.database.rows("SELECT * FROM item WHERE new IS NULL OR new <> old * 2")

    def assert_done(self, rows: int, serials: Iterable[int] | None = None) -> None:
        """Everything is done, each row once, and the ledger says the same."""
        standing = self.standing()
        assert (standing.state, standing.rows, standing.owner) == ("done", rows, None)
        assert self.written() == sorted(range(rows) if serials is None else serials)


def with_settings(**changes: Any) -> Settings:
    """The usual small settings, changed."""
    return replace(SMALL, **changes)


def doubling() -> UpdateRows:
    """The database doubles `old` into `new`."""
    return datamigrate.update_rows(ITEM, pending=PENDING, values={ITEM.c.new: ITEM.c.old * 2})


def each_batch(function: Callable[[Batch], Awaitable[None]]) -> EachBatch:
    """The test's own function of a batch of `item`."""

    async def migrate(batch: Batch) -> None:
        await function(batch)

    return datamigrate.each_batch(ITEM, pending=PENDING)(migrate)


def compute_batch(function: Callable[[list[Any]], Awaitable[list[Any]]]) -> ComputeRows:
    """The test's own function of rows of `item`: it reads `serial` and `old`, and writes `new`."""

    async def migrate(rows: list[Any]) -> list[Any]:
        return await function(rows)

    decorate = datamigrate.compute_rows(
        ITEM, pending=PENDING, reads=[ITEM.c.serial, ITEM.c.old], writes=[ITEM.c.new]
    )
    return decorate(migrate)


def migration(name: str = NAME, checksum: str = "0" * 16, kind: str = "update") -> Migration:
    """The identity of a script that has no file."""
    return Migration(name, Path(f"{name}.py"), "", (), (), (), frozenset(), kind, checksum)


def write_log(dialect: str, noting: str = "") -> str:
    """The SQL that makes `written`, and the triggers that add a row's serial each time it is written, or each
    time it is updated so that the condition `noting` holds."""
    log = "CREATE TABLE written (serial INTEGER);"
    body = "INSERT INTO written VALUES (OLD.serial);"
    verbs = ("UPDATE",) if noting else ("UPDATE", "DELETE")
    return log + "".join(after(dialect, "log_written", verbs, "item", body, noting))


@asynccontextmanager
async def opened(
    scratch: ScratchDatabase, read_only: bool = False, connections: int = 5
) -> AsyncIterator[Database]:
    """The database as the runner opens it; when all went well, no connection may be out in the end."""
    named = address(scratch.url, "the test", Path("/"))
    if named.file is not None:
        named.file.touch()
    database = open_database(named, read_only, connections)
    if scratch.dialect == "sqlite":
        for engine in (scratch.engine, database.engine.sync_engine):
            event.listen(engine, "connect", do_not_wait_for_the_disk)
    try:
        yield database
        assert checked_out(database) == 0
    finally:
        await database.close()


def do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
    """No test takes the power away, and some commit a thousand times."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = OFF")
    cursor.close()


def checked_out(database: Database) -> int:
    """How many connections somebody has not given back."""
    pool = database.engine.sync_engine.pool
    if isinstance(pool, sa.pool.NullPool):
        # SQLAlchemy's own choice for a file before 2.1: it keeps none, and counts none
        return 0
    assert isinstance(pool, sa.pool.QueuePool)
    return pool.checkedout()


COMMITTED = "committed"


def at_every_step(database: Database, react: Callable[[str], None]) -> None:
    """Call `react` with each statement before it is sent, with COMMIT before each commit, and with
    COMMITTED after it."""
    engine = database.engine.sync_engine
    commit = engine.dialect.do_commit

    def before_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        react(statement)

    def do_commit(connection: Any) -> None:
        react(COMMIT)
        commit(connection)
        react(COMMITTED)

    event.listen(engine, "before_cursor_execute", before_statement)
    engine.dialect.do_commit = do_commit  # type: ignore[assignment, method-assign]


def age_claim(scratch: ScratchDatabase) -> None:
    """Let the one claim's last heartbeat be an hour ago."""
    assert age_claims(scratch) == 1


def age_claims(scratch: ScratchDatabase) -> int:
    """Let each claim's last heartbeat be an hour ago; how many there are."""
    if scratch.dialect == "sqlite":
        earlier = "strftime('%Y-%m-%d %H:%M:%f', heartbeat, '-1 hour')"
    else:
        earlier = "heartbeat - interval '1 hour'"
    return scratch.execute(f"UPDATE datamigrate_range SET heartbeat = {earlier} WHERE owner IS NOT NULL")
