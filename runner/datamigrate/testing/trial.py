"""One data migration on trial: what the fixture `data_migration` gives to a test."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from datamigrate.testing import gates, proofs
from datamigrate.testing.meddling import Write, converges
from datamigrate.testing.rows import Row
from datamigrate.testing.stage import Ran, Stage, add_rows

__tracebackhide__ = True  # a test that fails is shown at its author's line

__all__ = ["Ran", "Trial"]


@dataclass(frozen=True, eq=False)
class Trial:
    """A data migration and a scratch database at the revisions that it requires.

    Rows go in by `insert` or `populate`, and come out by `rows`. `run`, `stop_after` and `resume` are what
    `datamigrate run` does. The assertions leave the database as their last run left it.
    """

    stage: Stage

    @property
    def name(self) -> str:
        """The migration's name."""
        return self.stage.name

    @property
    def url(self) -> str:
        """Where the scratch database is, for a connection of the test's own."""
        return self.stage.scratch.urls[0]

    # rows -------------------------------------------------------------------------------------------

    def insert(self, table: str, *rows: Row) -> list[dict[str, Any]]:
        """Insert rows into a table. What they do not say and the table wants is made up, parents included;
        the rows as inserted are returned. Raises CannotMake."""
        return self.stage.making(lambda maker: add_rows(maker, table, rows))

    def fill(self, rows: Mapping[str, Iterable[Row]]) -> None:
        """Insert rows into several tables, in the order given."""
        for table, several in rows.items():
            self.insert(table, *several)

    def populate(self, count: int = 5) -> None:
        """Make up so many rows of each table that the script names, some of them pending. Raises
        CannotMake."""
        self.stage.populate(count)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, in the order of its primary key."""
        return self.stage.making(lambda maker: maker.rows(table))

    def pending(self) -> int | None:
        """How many rows are pending now; None for a free form without `remaining`."""
        return self.stage.pending()

    # running ----------------------------------------------------------------------------------------

    def run(self) -> Ran:
        """Run it, or go on where it stopped. Raises the error with which it failed."""
        return _well(self.stage.run())

    def stop_after(self, batches: int) -> Ran:
        """Run so many batches and stop cleanly, as at the end of a time budget. Raises the error with which
        it failed."""
        return _well(self.stage.run(max_batches=batches))

    def resume(self) -> Ran:
        """Go on where it stopped: the same as `run`, for a test that reads better so."""
        return self.run()

    def reset(self) -> None:
        """Forget its progress, as `datamigrate reset` does."""
        self.stage.reset()

    # asserting --------------------------------------------------------------------------------------

    def assert_idempotent(self) -> None:
        """Done twice it is as done once. Raises NotProven with the rows that differ."""
        proofs.is_idempotent(self.stage)

    def assert_resumable(self, *, ignore: Iterable[str] = (), thorough: bool = False) -> None:
        """Killed anywhere and resumed, it ends as if undisturbed. Raises NotProven with the rows that differ.

        It is killed once in every transaction, at its commit, for deaths within one transaction leave the same
        database behind; with `thorough` at every statement. Columns that may differ are to be ignored as
        `table.column`; those that differ between two undisturbed runs are anyway.
        """
        proofs.is_resumable(self.stage, frozenset(ignore), thorough)

    def assert_converges(
        self, *, insert: Write | None = None, update: Write | None = None, delete: Write | None = None
    ) -> None:
        """It gets done while the application writes, leaves nothing behind and tramples on nothing.

        The functions given are called in turn, each with a connection, in a thread of the application's, when
        the run begins, after batches and before it verifies. Without any, an old version of the application
        copies rows, overwrites some with what stood in others at first, and deletes some. Raises NotProven.
        """
        converges(self.stage, tuple(write for write in (insert, update, delete) if write is not None))

    def assert_gate_holds(self, revision: str | None = None) -> None:
        """The revision that waits for it is refused while rows are pending, and applied once they are done.

        Rows must be pending. Without a `revision`, the first one is meant whose `op.require_data` names the
        migration. Raises NotProven.
        """
        gates.gate_holds(self.stage, revision)


def _well(ran: Ran) -> Ran:
    if ran.error is not None:
        raise ran.error.with_traceback(None)
    return ran
