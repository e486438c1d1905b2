"""The statements of the undo log, as the databases are given them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sqlalchemy as sa

from datamigrate.database.column_types import TypeNamed
from datamigrate.database.images import FUNCTIONS, shown
from datamigrate.database.ledger.tables import ledger_tables
from datamigrate.database.undoing import Part, Shape, UndoLog, shape_from
from datamigrate.words.errors import SchemaError
from unit.samples import DIALECTS

USERS = sa.table("users", sa.column("id", sa.Integer), sa.column("was", sa.Text), sa.column("now", sa.Text))
TYPES = {"id": TypeNamed("bigint"), "was": TypeNamed("text"), "now": TypeNamed("numeric(10,2)")}
BATCH = sa.and_(USERS.c.id > 3, USERS.c.now.is_(None))
PART = Part(3, 9)

UPDATED = Shape("users", None, ("id",), ("now",), deleted=False)
DELETED = Shape("users", None, ("id",), ("id", "now"), deleted=True)


def log(dialect: str, shape: Shape = UPDATED) -> UndoLog:
    return UndoLog(dialect, ledger_tables().undo, "fill", USERS, shape, TYPES)


def text(dialect: str, statement: sa.ClauseElement) -> str:
    compiled = statement.compile(dialect=DIALECTS[dialect], compile_kwargs={"literal_binds": True})
    return re.sub(r"\s+", " ", str(compiled)).strip()


def test_postgresql_keeps_in_the_statement_that_updates_and_locks_what_it_has_read() -> None:
    update = sa.update(USERS).where(BATCH).values(now=USERS.c.was + "x")
    assert text("postgresql", log("postgresql").update_and_keep(update, BATCH, locks=True)) == (
        "WITH datamigrate_old AS (SELECT users.id AS key_0, users.now AS column_0 FROM users "
        "WHERE users.id > 3 AND users.now IS NULL FOR NO KEY UPDATE OF users), "
        "datamigrate_changed AS (UPDATE users SET now=(users.was || 'x') FROM datamigrate_old "
        "WHERE users.id > 3 AND users.now IS NULL AND users.id = datamigrate_old.key_0 RETURNING "
        "CAST(json_build_array(CAST(datamigrate_old.key_0 AS TEXT)) AS TEXT) AS key, "
        "CAST(json_build_array(CAST(datamigrate_old.column_0 AS TEXT)) AS TEXT) AS before, "
        "CAST(json_build_array(CAST(users.now AS TEXT)) AS TEXT) AS after) "
        "INSERT INTO datamigrate_undo (migration, shape, key, before, after) "
        f"SELECT 'fill' AS anon_1, '{UPDATED}' AS anon_2, datamigrate_changed.key, "
        "datamigrate_changed.before, datamigrate_changed.after FROM datamigrate_changed"
    )


def test_postgresql_keeps_in_the_statement_that_deletes() -> None:
    delete = log("postgresql", DELETED).delete_and_keep(sa.delete(USERS).where(BATCH))
    assert text("postgresql", delete).startswith(
        "WITH datamigrate_gone AS (DELETE FROM users WHERE users.id > 3 AND users.now IS NULL RETURNING "
        "CAST(json_build_array(CAST(users.id AS TEXT)) AS TEXT) AS key, "
        "CAST(json_build_array(CAST(users.id AS TEXT), CAST(users.now AS TEXT)) AS TEXT) AS before) INSERT INTO"
    )


def test_only_what_is_as_the_batch_left_it_is_put_back_and_the_latest_of_each_row() -> None:
    assert text("postgresql", log("postgresql").put_back(PART)) == (
        "UPDATE users SET now=CAST(CAST(datamigrate_entry.before AS JSON) ->> 0 AS numeric(10,2)) "
        "FROM datamigrate_undo AS datamigrate_entry WHERE datamigrate_entry.id IN (SELECT max(latest.id) AS max_1 "
        f"FROM datamigrate_undo AS latest WHERE latest.migration = 'fill' AND latest.shape = '{UPDATED}' "
        "AND latest.outcome IS NULL AND latest.id BETWEEN 3 AND 9 GROUP BY latest.key) "
        "AND users.id = CAST(CAST(datamigrate_entry.key AS JSON) ->> 0 AS bigint) "
        "AND CAST(json_build_array(CAST(users.now AS TEXT)) AS TEXT) = datamigrate_entry.after"
    )


def test_sqlite_tells_keys_apart_whatever_its_column_calls_equal() -> None:
    assert 'WHERE (users.id COLLATE "BINARY") = CASE WHEN' in text("sqlite", log("sqlite").complete(0))
    assert 'AND (users.id COLLATE "BINARY") = CASE WHEN' in text("sqlite", log("sqlite").put_back(PART))


@pytest.mark.parametrize(
    ("dialect", "begins"),
    [
        ("postgresql", "INSERT INTO users (id, now) OVERRIDING SYSTEM VALUE SELECT CAST("),
        ("sqlite", "INSERT INTO users (id, now) SELECT CASE WHEN"),
    ],
)
def test_deleted_rows_are_inserted_where_nothing_has_taken_their_place(dialect: str, begins: str) -> None:
    put_back = text(dialect, log(dialect, DELETED).put_back(PART))
    assert put_back.startswith(begins)
    assert put_back.endswith("ON CONFLICT DO NOTHING")


def test_a_shape_is_kept_with_its_version_and_another_one_is_refused() -> None:
    assert shape_from(str(DELETED)) == DELETED
    with pytest.raises(SchemaError, match="another version"):
        shape_from(str(DELETED).replace('"v":1', '"v":3'))


def test_a_shape_without_casts_is_of_a_version_that_who_does_not_know_of_them_refuses() -> None:
    uncast = replace(UPDATED, uncast=("now",))
    assert (str(UPDATED)[:7], str(uncast)[:7]) == ('{"v":1,', '{"v":2,')
    assert shape_from(str(uncast)) == uncast


def test_values_of_a_type_that_somebody_has_made_casts_for_are_written_and_read_by_the_type_itself() -> None:
    uncast = log("postgresql", replace(UPDATED, uncast=("now",)))
    assert "json_build_array(CASE WHEN (num_nulls(users.now) = 0) THEN format('%s', users.now) END)" in text(
        "postgresql", uncast.settle(PART)
    ).replace("%%", "%")
    assert (
        "SET now=(SELECT datamigrate_read.value FROM json_to_record(json_build_object('value', "
        "CAST(datamigrate_entry.before AS JSON) ->> 0)) AS datamigrate_read(value numeric(10,2))) "
    ) in text("postgresql", uncast.put_back(PART))


@pytest.mark.parametrize("real", [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf")])
def test_sqlite_s_numbers_keep_every_bit(real: float) -> None:
    pack, unpack = FUNCTIONS["datamigrate_packed"], FUNCTIONS["datamigrate_unpacked"]
    assert unpack(pack(real)).hex() == real.hex()


def test_a_key_is_shown_without_what_keeps_it_exact() -> None:
    assert shown("sqlite", '[7, "ta b"]') == "(7, a b)"
    assert shown("postgresql", '["7"]') == "7"
