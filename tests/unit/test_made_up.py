"""What rows for a test are made of, and how two states of a database are told apart."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from datamigrate.testing.crashing import BEGIN, COMMIT, CommitsOf, Killed, Killer
from datamigrate.testing.making import wishes_of
from datamigrate.testing.rows import Row, Snapshot, columns_written, differences, unsteady
from datamigrate.testing.telling import not_proven
from datamigrate.testing.values import value_for

TYPES: list[sa.types.TypeEngine[Any]] = [
    sa.Integer(),
    sa.Numeric(8, 2),
    sa.Float(),
    sa.Text(),
    sa.String(4),
    sa.CHAR(32),
    sa.Date(),
    sa.DateTime(timezone=True),
    sa.Time(),
    sa.Uuid(),
    sa.LargeBinary(),
    sa.Interval(),
    postgresql.INTERVAL(),
    postgresql.BYTEA(),
    postgresql.ARRAY(sa.Integer),
]


def state(*rows: Row, key: tuple[str, ...] = ("id",)) -> Snapshot:
    return Snapshot({"t": rows}, {"t": key})


@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_values_that_must_be_unlike_are_unlike(type_: sa.types.TypeEngine[Any]) -> None:
    made = [repr(value_for(type_, n, unique=True)) for n in range(200)]
    assert len(set(made)) == 200


def test_where_there_are_no_more_values_that_is_told() -> None:
    with pytest.raises(ValueError, match="no more values"):
        value_for(sa.Enum("a", "b"), 2, unique=True)
    with pytest.raises(ValueError, match="no more values"):
        value_for(sa.String(1), 10, unique=True)
    with pytest.raises(KeyError):
        value_for(postgresql.TSVECTOR(), 0, unique=False)


def test_texts_fit_their_columns_and_numbers_theirs() -> None:
    assert all(len(value_for(sa.String(3), n, unique)) <= 3 for n in range(99) for unique in (True, False))
    assert all(value_for(sa.Numeric(3, 2), n, unique=False) < 10 for n in range(99))


def test_a_predicate_says_which_values_to_try_and_which_to_leave_out() -> None:
    t = sa.table("t", sa.column("state"), sa.column("size"), sa.column("done"))
    pending = sa.and_(t.c.state.in_(["old", "older"]), t.c.size > 10, t.c.done.is_(None))
    wishes = wishes_of([t], [pending], [])
    assert wishes.compared == {("t", "state"): ("old", "older"), ("t", "size"): (10, 9, 11)}
    assert wishes.empty == {("t", "done")}


def test_rows_are_told_apart_by_their_key() -> None:
    before = state({"id": 1, "a": 1}, {"id": 2, "a": 2}, {"id": 3, "a": 3})
    after = state({"id": 1, "a": 1}, {"id": 2, "a": 9}, {"id": 4, "a": 4})
    assert [(d.key, d.changed) for d in differences(before, after)] == [
        ("id=2", ("a",)),
        ("id=3", ("id", "a")),
        ("id=4", ("id", "a")),
    ]
    assert columns_written(before, after) == {"t.a"}


def test_where_keys_do_not_count_rows_are_told_apart_by_the_rest() -> None:
    before = state({"id": 1, "a": 1}, {"id": 2, "a": 1})
    after = state({"id": 7, "a": 1}, {"id": 8, "a": 5})
    assert unsteady(before, after) == {"t.id", "t.a"}
    found = differences(before, after, frozenset({"t.id"}))
    assert [(d.before, d.after) for d in found] == [({"a": 1}, None), (None, {"a": 5})]


def test_no_more_than_a_few_rows_are_shown() -> None:
    before = state(*({"id": n, "a": 0} for n in range(9)))
    after = state(*({"id": n, "a": 1} for n in range(9)))
    told = str(not_proven("It failed.", "Mend it.", differences(before, after)))
    assert told.count("id=") == 5
    assert "... and 4 rows more" in told
    assert told.endswith("What to change: Mend it.")


def test_a_process_dies_at_a_commit_only_where_a_table_was_touched() -> None:
    killer = Killer(at=2)
    react = CommitsOf(["users"], killer)
    for step in (BEGIN, "UPDATE datamigrate_range SET users_done = 1", COMMIT, BEGIN, "UPDATE users", COMMIT):
        react(step)
    react("SELECT 1 FROM users")
    with pytest.raises(Killed):
        react(COMMIT)
    with pytest.raises(Killed):
        react("anything at all")
