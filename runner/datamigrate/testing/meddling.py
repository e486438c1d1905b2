"""The application, which goes on writing while the migration runs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from datamigrate.authoring.forms import RowsForm
from datamigrate.testing import asking
from datamigrate.testing.making import Maker, own_columns
from datamigrate.testing.proofs import done, has_converged
from datamigrate.testing.rows import Columns, Difference, Row, Snapshot, columns_written, show_row_key
from datamigrate.testing.stage import Stage
from datamigrate.testing.telling import not_proven
from datamigrate.words.events import BatchDone, Event, Started, Verifying

__tracebackhide__ = True  # a test that fails is shown at its author's line

Write = Callable[[Connection], Any]
"""Something that the application does, in a transaction of its own."""

ROUNDS = 6
"""Times that the application writes: less than what a run sweeps after."""

MOMENTS = (Started, BatchDone, Verifying)


@dataclass(eq=False)
class Meanwhile:
    """The application: it writes in a thread, each time something has happened in the run, until its `rounds` are over."""

    stage: Stage
    writes: tuple[Write, ...]
    rounds: int = ROUNDS

    def __call__(self, event: Event) -> None:
        if not isinstance(event, MOMENTS) or not self.rounds or event.migration != self.stage.name:
            return
        self.rounds -= 1
        with ThreadPoolExecutor(1, thread_name_prefix="application") as thread:
            for write in self.writes:
                thread.submit(self.stage.on, write).result()


@dataclass(eq=False)
class OldVersion:
    """An old version of the application, which knows nothing of the new form: it inserts rows like those
    that it finds, writes into some what stood in others at first, and deletes some."""

    stage: Stage
    table: str
    at_first: Snapshot
    turn: int = 0
    written: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    deleted: set[tuple[Any, ...]] = field(default_factory=set)

    def insert(self, connection: Connection) -> None:
        """A row like one that was there at first, under a key of its own."""
        row = self._next(0)
        like = {n: row[n] for n in row if n not in self._own}
        Maker(connection, self.stage.tables, asking.wishes(self.stage.script)).add_raw(self.table, like)

    def update(self, connection: Connection) -> None:
        """A row that holds from now on what another one held at first."""
        row, other = self._next(1), self._next(2)
        key = self.at_first.key_of(self.table, row)
        values = {n: v for n, v in other.items() if n not in self._own}
        if values and key not in self.deleted:
            connection.execute(sa.update(self._raw).where(self._is(row)).values(values))
            self.written[key] = {**row, **values}

    def delete(self, connection: Connection) -> None:
        """A row, unless others refer to it."""
        self.turn += 1
        row = self._next(0)
        try:
            with connection.begin_nested():
                connection.execute(sa.delete(self._raw).where(self._is(row)))
        except IntegrityError:
            return
        self.deleted.add(self.at_first.key_of(self.table, row))

    # afterwards -------------------------------------------------------------------------------------

    def trampled(self, after: Snapshot, by_script: Columns) -> list[Difference]:
        """What the application wrote and is there no more: rows that have come back after it had deleted
        them, and values that it had written to columns which the script has no business with."""
        now = {after.key_of(self.table, row): row for row in after.tables[self.table]}
        names = after.keys[self.table]
        back = [
            Difference(self.table, show_row_key(names, key), None, now[key])
            for key in sorted(self.deleted & now.keys(), key=repr)
        ]
        theirs = {column for column in self._columns if f"{self.table}.{column}" not in by_script}
        kept = self.written.keys() & now.keys() - self.deleted
        changed = [
            Difference(self.table, show_row_key(names, key), self.written[key], now[key])
            for key in sorted(kept, key=repr)
            if any(self.written[key][n] != now[key][n] for n in theirs)
        ]
        return back + changed

    # small things -----------------------------------------------------------------------------------

    def _next(self, ahead: int) -> Row:
        rows = self.at_first.tables[self.table]
        return rows[(self.turn * 3 + ahead) % len(rows)]

    def _is(self, row: Row) -> sa.ColumnElement[bool]:
        return sa.and_(*(self._raw.c[n] == row[n] for n in self.at_first.keys[self.table]))

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(self.stage.tables[self.table].c.keys())

    @property
    def _own(self) -> frozenset[str]:
        """What one row has for itself alone, or the database makes."""
        return own_columns(self.stage.tables[self.table])

    @cached_property
    def _raw(self) -> sa.TableClause:
        table = self.stage.tables[self.table]
        return sa.table(table.name, *(sa.column(n) for n in self._columns), schema=table.schema)


def converges(stage: Stage, writes: tuple[Write, ...]) -> None:
    """Done though the application writes meanwhile, by these functions or as an old version of it would;
    nothing left, and nothing of the application's lost."""
    stage.prepare()
    old = None if writes else _old_version(stage)
    by_script = _written_undisturbed(stage) | _written_by_its_words(stage)
    meanwhile = writes or (old.insert, old.update, old.delete) if old else writes
    ran = done(stage, listen=Meanwhile(stage, meanwhile))
    if old and (lost := old.trampled(ran.after, by_script)):
        raise not_proven(
            f"{stage.name} tramples on the application: what it wrote while the migration ran is not there any "
            "more.",
            "Change rows where they are (UPDATE ... WHERE), with what they hold at that moment: rows that were "
            "read before and are written back whole undo what was written in between.",
            lost,
            stage.script.migration.options.mask,
            ("the application's", "the script's"),
        )
    has_converged(stage)


def _written_undisturbed(stage: Stage) -> Columns:
    twin = stage.copied()
    try:
        ran = done(twin)
        return columns_written(ran.before, ran.after)
    finally:
        twin.drop()


def _written_by_its_words(stage: Stage) -> Columns:
    form = stage.script.form
    if not isinstance(form, RowsForm):
        return frozenset()
    return frozenset(f"{form.table.fullname}.{name}" for name in form.updated)


def _old_version(stage: Stage) -> OldVersion:
    form, at_first = stage.script.form, stage.snapshot()
    named = [form.table.fullname] if isinstance(form, RowsForm) else list(asking.tables_of(stage.script))
    known = [
        name for name in (named or list(stage.tables)) if at_first.tables.get(name) and at_first.keys[name]
    ]
    if not known:
        raise not_proven(
            f"Nothing is proven of {stage.name}: there are no rows that the application could write.",
            "Insert rows first, or give functions: assert_converges(insert=..., update=..., delete=...).",
        )
    return OldVersion(stage, known[0], at_first)
