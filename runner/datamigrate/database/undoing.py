"""The undo log: the statements that keep what a batch is about to change, and that put it back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from datamigrate.database.images import image, value
from datamigrate.database.keyset import column_of
from datamigrate.words.errors import SchemaError

VERSION = 1
VERSION_WITH_UNCAST = 2

UNDONE = "undone"
CHANGED = "changed since"


@dataclass(frozen=True)
class Shape:
    """What the images of an entry are of, and in which time zone they were written, where that matters; the values of
    `uncast` columns are written and read without the casts of their types. Of a row that was deleted the log has all
    columns."""

    table: str
    schema: str | None
    key: tuple[str, ...]
    columns: tuple[str, ...]
    deleted: bool
    timezone: str | None = None
    uncast: tuple[str, ...] = ()

    def __str__(self) -> str:
        kept = asdict(self)
        if self.timezone is None:
            del kept["timezone"]
        if not self.uncast:
            del kept["uncast"]
        version = VERSION_WITH_UNCAST if self.uncast else VERSION
        return json.dumps({"v": version} | kept, separators=(",", ":"))


def shape_from(text: str) -> Shape:
    """The shape that was kept. Raises SchemaError for one of another version."""
    kept = json.loads(text)
    if kept.pop("v") not in (VERSION, VERSION_WITH_UNCAST):
        raise SchemaError(
            "The undo log was written by another version of datamigrate.", "Revert with that one."
        )
    names = {what: tuple(kept.get(what, ())) for what in ("key", "columns", "uncast")}
    return Shape(**kept | names)


@dataclass(frozen=True)
class Part:
    """The entries with these numbers, both included."""

    first: int
    last: int


@dataclass(frozen=True, eq=False)
class UndoLog:
    """The entries of one migration, of one shape, in the ledger's table `undo`; `types` are those of the
    table's columns, by name."""

    dialect: str
    undo: sa.Table
    migration: str
    table: sa.TableClause
    shape: Shape
    types: Mapping[str, sa.types.TypeEngine[Any]]

    @property
    def key(self) -> list[sa.ColumnElement[Any]]:
        """The key's columns."""
        return [_raw(self.table, name) for name in self.shape.key]

    @property
    def columns(self) -> list[sa.ColumnElement[Any]]:
        """The columns whose values are kept."""
        return [_raw(self.table, name) for name in self.shape.columns]

    # keeping ----------------------------------------------------------------------------------------

    def update_and_keep(self, update: sa.Update, rows: sa.ColumnElement[bool], locks: bool) -> sa.Insert:
        """The update, with what it changes kept by the same statement. One that `locks` has others wait who are
        about to change these rows; without, the update itself has to see that nobody does."""
        keys = [c.label(f"key_{i}") for i, c in enumerate(self.key)]
        columns = [c.label(f"column_{i}") for i, c in enumerate(self.columns)]
        found = sa.select(*keys, *columns).select_from(self.table).where(rows)
        if locks:
            found = found.with_for_update(key_share=True, of=self.table)
        old = found.cte("datamigrate_old")
        olds = list(old.c)
        changed = (
            update.where(*(mine == theirs for mine, theirs in zip(self.key, olds, strict=False)))
            .returning(
                self._image(self.shape.key, olds[: len(keys)]).label("key"),
                self._image(self.shape.columns, olds[len(keys) :]).label("before"),
                self._image_now.label("after"),
            )
            .cte("datamigrate_changed")
        )
        return self._insert(self._entry(changed.c.key, changed.c.before, changed.c.after))

    def delete_and_keep(self, delete: sa.Delete) -> sa.Insert:
        """The deletion, with the rows that go kept by the same statement."""
        images = self._image(self.shape.key, self.key).label("key"), self._image_now.label("before")
        gone = delete.returning(*images).cte("datamigrate_gone")
        return self._insert(self._entry(gone.c.key, gone.c.before, sa.null()))

    def last(self) -> sa.Select[Any]:
        """The number of the latest entry."""
        return sa.select(sa.func.coalesce(sa.func.max(self.undo.c.id), 0))

    def keep(self, rows: sa.ColumnElement[bool]) -> sa.Insert:
        """Keep these rows as they are; what becomes of them is not known yet."""
        old = self._entry(self._image(self.shape.key, self.key), self._image_now, sa.null())
        return self._insert(old.select_from(self.table).where(rows))

    def complete(self, mark: int) -> sa.Update:
        """Add what has become of the rows kept since the `mark`."""
        after = sa.select(self._image_now).select_from(self.table).where(self._is_of(self.undo))
        return (
            sa.update(self.undo)
            .where(self.undo.c.id > mark)
            .values(after=after.correlate(self.undo).scalar_subquery())
        )

    def drop_unchanged(self, mark: int) -> sa.Delete:
        """Forget rows kept since the `mark` that are as they were: they were left alone."""
        return sa.delete(self.undo).where(self.undo.c.id > mark, self.undo.c.after == self.undo.c.before)

    def as_written(self) -> sa.Select[Any] | None:
        """A SELECT that has this transaction write images as those of the log were written; None where that is so
        anyway."""
        zone = self.shape.timezone
        return (
            None if zone is None else sa.select(sa.func.set_config("timezone", zone, True).label("timezone"))
        )

    # putting back -----------------------------------------------------------------------------------

    def put_back(self, part: Part) -> sa.Update | sa.Insert:
        """Give the rows of this part of the entries their old values, or their being; of a row with several
        entries the latest counts. Rows that are not as the batch left them are passed over."""
        entry = self.undo.alias("datamigrate_entry")
        latest = entry.c.id.in_(self._latest(part))
        olds = {name: self._value(entry.c.before, i, name) for i, name in enumerate(self.shape.columns)}
        if not self.shape.deleted:
            unchanged = self._image_now == entry.c.after
            return sa.update(self.table).where(latest, self._is_of(entry), unchanged).values(olds)
        rows = sa.select(*olds.values()).where(latest)
        kind = InsertAnyValue if self.dialect == "postgresql" else sqlite.Insert
        return kind(self.table).from_select(list(olds), rows).on_conflict_do_nothing()

    def settle(self, part: Part) -> sa.Update:
        """Note of each of these entries, the latest of each row, whether the row is again as it was; gives the
        outcomes."""
        undo = self.undo
        again = (
            sa.select(sa.literal(1))
            .select_from(self.table)
            .where(self._is_of(undo), self._image_now == undo.c.before)
            .correlate(undo)
        )
        return (
            sa.update(undo)
            .where(undo.c.id.in_(self._latest(part)))
            .values(outcome=sa.case((again.exists(), UNDONE), else_=CHANGED))
            .returning(undo.c.outcome)
        )

    def look_at(self, entries: Sequence[int]) -> sa.Select[Any]:
        """The rows of these entries as they are: the entry's number, whether the row is there, its key as the log
        has it, and the columns; the latest first."""
        entry = self.undo.alias("datamigrate_entry")
        keys = [self._value(entry.c.key, i, name) for i, name in enumerate(self.shape.key)]
        return (
            sa.select(entry.c.id, self.key[0].is_not(None), *keys, *self.columns)
            .select_from(entry.outerjoin(self.table, self._is_of(entry)))
            .where(entry.c.id.in_(entries))
            .order_by(entry.c.id.desc())
        )

    # the inside -------------------------------------------------------------------------------------

    def _latest(self, part: Part) -> sa.Select[Any]:
        e = self.undo.alias("latest")
        mine = e.c.migration == self.migration, e.c.shape == str(self.shape), e.c.outcome.is_(None)
        within = e.c.id.between(part.first, part.last)
        return sa.select(sa.func.max(e.c.id)).where(*mine, within).group_by(e.c.key)

    def _is_of(self, entry: Any) -> sa.ColumnElement[bool]:
        return sa.and_(
            *(
                self._exactly(column) == self._value(entry.c.key, i, name)
                for i, (name, column) in enumerate(zip(self.shape.key, self.key, strict=True))
            )
        )

    def _exactly(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        # a table that was made anew since may call other texts equal
        return sa.collate(column, "BINARY") if self.dialect == "sqlite" else column

    @property
    def _image_now(self) -> sa.ColumnElement[str]:
        return self._image(self.shape.columns, self.columns)

    def _image(self, names: Sequence[str], columns: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[str]:
        return image(self.dialect, dict(zip(names, columns, strict=True)), self.shape.uncast)

    def _value(self, text: sa.ColumnElement[Any], position: int, name: str) -> sa.ColumnElement[Any]:
        return value(self.dialect, text, position, self.types[name], name in self.shape.uncast)

    def _entry(self, *images: sa.ColumnElement[Any]) -> sa.Select[Any]:
        return sa.select(sa.literal(self.migration), sa.literal(str(self.shape)), *images)

    def _insert(self, entries: sa.Select[Any]) -> sa.Insert:
        names = ["migration", "shape", "key", "before", "after"]
        return sa.insert(self.undo).from_select(names, entries)


class InsertAnyValue(postgresql.Insert):
    """An INSERT that gives rows also the numbers that the database wants to give itself."""

    inherit_cache = True


@compiles(InsertAnyValue, "postgresql")
def _insert_any_value(element: InsertAnyValue, compiler: SQLCompiler, **options: Any) -> str:
    text: str = compiler.visit_insert(element, **options)  # type: ignore[no-untyped-call] # untyped there
    return text.replace(") SELECT ", ") OVERRIDING SYSTEM VALUE SELECT ", 1)


def _raw(table: sa.TableClause, name: str) -> sa.ColumnElement[Any]:
    return sa.type_coerce(column_of(table, name), sa.types.NullType())
