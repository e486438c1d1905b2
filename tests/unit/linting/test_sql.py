"""What SQL text does to rows."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.linting.lexing import HOLE, lexemes
from datamigrate.thought.linting.sql import called_routines, deeds, writing_routines


@pytest.mark.parametrize(
    ("sql", "done"),
    [
        ("UPDATE a SET x = 1", ["UPDATE a"]),
        ("update public.a set x = %(y)s", ["UPDATE public.a"]),
        ("UPDATE `a` SET `x` = 1", ["UPDATE a"]),
        ("UPDATE [dbo].[a] SET x = 1", ["UPDATE dbo.a"]),
        ("UPDATE a SET x = :y\\:\\:text", ["UPDATE a"]),
        ("INSERT IGNORE INTO a SELECT 1", ["INSERT INTO a"]),
        ("INSERT OR REPLACE INTO a VALUES (1)", ["INSERT INTO a"]),
        ("REPLACE INTO a VALUES (1)", ["REPLACE INTO a"]),
        ("DELETE FROM a USING b WHERE a.x = b.x", ["DELETE FROM a"]),
        ("TRUNCATE a CASCADE", ["TRUNCATE a"]),
        ("COPY a FROM STDIN", ["COPY a"]),
        ("WITH b AS (SELECT 1) DELETE FROM a USING b", ["DELETE FROM a"]),
        ("WITH b AS (DELETE FROM a RETURNING *) SELECT * FROM b", ["DELETE FROM a"]),
        ("BEGIN; UPDATE a SET x = 1; COMMIT", ["UPDATE a"]),
        ("-- first\n/* and */ UPDATE a SET x = 1", ["UPDATE a"]),
        ("MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN UPDATE SET y = 1", ["MERGE INTO a"]),
        ("DO $$ BEGIN DELETE FROM a; END $$", ["DELETE FROM a"]),
        ("DO 'BEGIN DELETE FROM a; END'", ["DELETE FROM a"]),
        ("DO $$ BEGIN EXECUTE 'UPDATE a SET x = 1'; END $$", ["UPDATE a"]),
        ("DECLARE n INT; BEGIN EXECUTE IMMEDIATE 'UPDATE a SET b = 1'; END;", ["UPDATE a"]),
        ("IF EXISTS (SELECT 1 FROM a) UPDATE a SET b = 1", ["UPDATE a"]),
        (f"UPDATE {HOLE} SET x = 1", ["UPDATE a computed table"]),
        (f"UPDATE wf_{HOLE} SET x = 1", ["UPDATE wf_…"]),
        (f"{HOLE} UPDATE a SET x = 1", ["UPDATE a"]),
        (f"WITH {HOLE} UPDATE a SET x = 1", []),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END; DELETE FROM c", ["DELETE FROM c"]),
        ("CREATE FUNCTION f() RETURNS int AS $$ UPDATE a SET x = 1 $$ LANGUAGE sql", []),
        ("CREATE RULE r AS ON DELETE TO a DO INSTEAD UPDATE a SET gone = true", []),
        ("ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c ON DELETE SET NULL ON UPDATE CASCADE", []),
        ("ALTER TABLE a ALTER b TYPE date USING b::date", []),
        ("GRANT INSERT, UPDATE, DELETE ON a TO b", []),
        ("COMMENT ON TABLE a IS 'DELETE FROM a'", []),
        ("SELECT * FROM a FOR UPDATE", []),
        ("SELECT 'UPDATE a SET x = 1'", []),
        ("SET x = 'DELETE FROM a'", []),
        ("COPY a TO STDOUT", []),
        ("UPDATE alembic_version SET version_num = 'x'", []),
        ("DELETE FROM pg_catalog.pg_enum WHERE enumlabel = 'x'", []),
        (f"{HOLE}", []),
        ("", []),
        (";;;", []),
    ],
)
def test_deeds(sql: str, done: list[str]) -> None:
    assert [str(deed) for deed in deeds(sql)] == done


def test_routines_that_write_and_those_that_are_called() -> None:
    made = "CREATE OR REPLACE FUNCTION s.fill(n int) RETURNS void AS $$ DELETE FROM a $$ LANGUAGE sql"
    assert writing_routines(made) == {"fill"}
    assert writing_routines(made.replace("DELETE", "SELECT 1")) == frozenset()
    assert "fill" in called_routines("SELECT s.fill(1)")
    assert "fill" in called_routines("CALL fill(1)")
    assert called_routines("DROP FUNCTION fill()") == frozenset()


def test_the_parser_keeps_quiet_and_its_log_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    deeds("WITH a AS (SELECT 1) UPDATE ;; DELETE §§ INSERT INTO")
    assert not caplog.records
    assert not logging.getLogger("sqlglot").disabled


@given(st.text())
def test_any_text_can_be_cut(text: str) -> None:
    cut = lexemes(text)
    assert all(text[one.start : one.end] == one.text for one in cut)


WORDS = [
    "UPDATE",
    "DELETE",
    "INSERT",
    "INTO",
    "FROM",
    "SET",
    "WITH",
    "AS",
    "(",
    ")",
    ";",
    "'",
    '"',
    "$$",
    "BEGIN",
]
WORDS += [
    "END",
    "CREATE",
    "FUNCTION",
    "TRIGGER",
    "DO",
    "MERGE",
    "USING",
    "CASE",
    "--",
    "/*",
    "a",
    "=",
    HOLE,
    "\n",
]


@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_no_text_makes_it_fail(words: list[str]) -> None:
    deeds(" ".join(words))
    writing_routines(" ".join(words))
    called_routines(" ".join(words))
