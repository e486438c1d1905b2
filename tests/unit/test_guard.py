"""What a script may not do on its connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.database.guard import forbidden

DDL = [
    "CREATE TABLE t (id int)",
    "create unique index i on t (id)",
    "CREATE OR REPLACE VIEW v AS SELECT 1",
    "CREATE TABLE temp (id int)",
    "ALTER TABLE users ADD COLUMN x int",
    "DROP TABLE users",
    "DROP\n\tINDEX i",
    "TRUNCATE users",
    "COMMENT ON TABLE users IS 'x'",
    "GRANT SELECT ON users TO ann",
    "REVOKE ALL ON users FROM ann",
    "REINDEX TABLE users",
    "VACUUM",
    "CLUSTER users",
    "REFRESH MATERIALIZED VIEW v",
    "ATTACH DATABASE 'x' AS y",
    "DETACH DATABASE y",
]
ENDING = [
    "COMMIT",
    "commit;",
    "COMMIT AND CHAIN",
    "COMMIT PREPARED 'x'",
    "END",
    "END TRANSACTION",
    "ABORT",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "START TRANSACTION",
    "PREPARE TRANSACTION 'x'",
    "ROLLBACK",
    "rollback;",
    "ROLLBACK WORK",
    "ROLLBACK TRANSACTION",
    "ROLLBACK AND CHAIN",
    "ROLLBACK PREPARED 'x'",
    "ROLLBACK -- TO be sure",
    "INSERT OR ROLLBACK INTO t VALUES (1)",
    "update or\n /* if it must be */ rollback t SET a = 1",
    "WITH x AS (SELECT 1) INSERT OR ROLLBACK INTO t SELECT * FROM x",
]
ALLOWED = [
    "",
    "SELECT 1",
    "INSERT INTO t VALUES ('DROP TABLE users')",
    "UPDATE users SET full_name = 'commit'",
    "UPDATE users SET full_name = 'insert or rollback'",
    "INSERT OR REPLACE INTO rollback VALUES (1)",
    "INSERT INTO t SELECT 1 -- never INSERT OR ROLLBACK",
    "DELETE FROM users",
    "WITH x AS (SELECT 1) UPDATE users SET a = 1",
    "LOCK TABLE users IN SHARE MODE",
    "ANALYZE users",
    "SET LOCAL work_mem = '64MB'",
    "PREPARE x AS SELECT 1",
    "SAVEPOINT a",
    "RELEASE SAVEPOINT a",
    "ROLLBACK TO a",
    "ROLLBACK TO SAVEPOINT a",
    "ROLLBACK WORK TO SAVEPOINT a",
    "rollback\n transaction to savepoint a",
    "CREATE TEMP TABLE t (id int)",
    "CREATE TEMPORARY TABLE t (id int)",
    "create local temporary table t (id int)",
    "CREATE GLOBAL TEMP TABLE t (id int)",
    "-- DROP TABLE users\nSELECT 1",
    "/* COMMIT */ SELECT 1",
    "created_at",
    "committed",
    "ending",
    "dropped",
]
DDL_WITHIN = {
    "SELECT * INTO copy FROM users": "SELECT ... INTO ...",
    "select a,\n b into unlogged copy from users": "SELECT ... INTO ...",
    'WITH x AS (SELECT 1) SELECT * INTO "Copy" FROM x': "SELECT ... INTO ...",
    "DO $$ BEGIN CREATE TABLE t (id int); END $$": "DO ... CREATE ...",
    "do $x$ begin perform 1; drop table users; end $x$": "DO ... DROP ...",
    "DO $$ BEGIN EXECUTE format('ALTER TABLE %I ADD x int', 't'); END $$": "DO ... ALTER ...",
}
ALLOWED_WITHIN = [
    "SELECT 'copied into place'",
    'SELECT "into" FROM users -- INTO',
    "SELECT $$ INTO t $$",
    "SELECT * INTO TEMP scratch FROM users",
    "SELECT * INTO LOCAL TEMPORARY scratch FROM users",
    "WITH x AS (INSERT INTO t SELECT 1 RETURNING a) SELECT * FROM x",
    "WITH x AS (SELECT 1) INSERT /* up */\n INTO t SELECT * FROM x",
    "INSERT INTO t SELECT * FROM users",
    "DO $$ BEGIN UPDATE users SET a = 'CREATE TABLE'; END $$",
    "DO $$ BEGIN CREATE TEMP TABLE t (id int); END $$",
    "CALL tidy()",
]
PREFIXES = [
    "",
    "  \n\t",
    "-- a word first\n",
    "/* a word */ ",
    "/* two\nlines */\n-- and more\n ",
    ";",
    " ; -- x\n;",
]


@pytest.mark.parametrize("statement", DDL)
@pytest.mark.parametrize("before", PREFIXES)
def test_changing_the_schema_is_forbidden(statement: str, before: str) -> None:
    why = forbidden(before + statement)
    assert why == f"The script changes the schema ({statement.split()[0].upper()} ...)."


@pytest.mark.parametrize("statement", DDL_WITHIN)
@pytest.mark.parametrize("before", PREFIXES)
def test_changing_the_schema_from_within_another_statement_is_forbidden(statement: str, before: str) -> None:
    assert forbidden(before + statement) == f"The script changes the schema ({DDL_WITHIN[statement]})."


@pytest.mark.parametrize("statement", ENDING)
@pytest.mark.parametrize("before", PREFIXES)
def test_ending_the_transaction_is_forbidden(statement: str, before: str) -> None:
    why = forbidden(before + statement)
    assert why is not None
    assert why.startswith("The script ends the runner's transaction ")


@pytest.mark.parametrize("statement", [*ALLOWED, *ALLOWED_WITHIN])
@pytest.mark.parametrize("before", PREFIXES)
def test_everything_else_is_allowed(statement: str, before: str) -> None:
    assert forbidden(before + statement) is None


@given(st.text() | st.text(alphabet="-/* \n;DROP"))
def test_any_text_is_judged(text: str) -> None:
    assert forbidden(text) is None or str(forbidden(text)).startswith("The script ")


def test_a_comment_that_never_ends_hides_what_is_in_it() -> None:
    assert forbidden("-- DROP TABLE users") is None
