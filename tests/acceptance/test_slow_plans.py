"""A plan that reads or sorts a large table again for every batch is refused, with the index that is missing."""

from __future__ import annotations

from typing import Any

import pytest

from databases import ScratchDatabase
from projects import FULL_NAME, UNHURRIED, Project, add_people, named_people

MANY = 20_000

BY_NAME = """
migrate = update_rows(
    people,
    key=(people.c.first, people.c.id),
    pending=people.c.full_name.is_(None),
    values={people.c.full_name: people.c.first + " " + people.c.last},
)
"""
BY_NAME_AND_SHARD = 'people.append_column(sa.column("shard", sa.Integer))' + BY_NAME.replace(
    "people.c.id)", "people.c.id, people.c.shard)"
)
LOOKED_UP = """
nicknames = sa.table("nicknames", sa.column("person", sa.Integer), sa.column("nick", sa.Text))
nick = sa.select(nicknames.c.nick).where(nicknames.c.person == people.c.id).scalar_subquery()

migrate = update_rows(people, pending=people.c.nick.is_(None), values={people.c.nick: nick})
"""
CHOSEN_ELSEWHERE = """
chosen = sa.table("chosen", sa.column("person", sa.Integer))

migrate = update_rows(
    people,
    pending=sa.and_(people.c.nick.is_(None), people.c.id.in_(sa.select(chosen.c.person))),
    values={people.c.nick: "x"},
)
"""


def slow_in(project: Project, exits: int = 1) -> list[dict[str, Any]]:
    [rehearsal] = project.json("run", "--dry-run", *UNHURRIED, exits=exits)["rehearsals"]
    return list(rehearsal["slow"])


def analyze(database: ScratchDatabase, whether: bool) -> None:
    if whether:
        database.script("ANALYZE")


def nicknames(database: ScratchDatabase, count: int) -> None:
    database.execute("CREATE TABLE nicknames (person integer, nick text)")
    database.execute("INSERT INTO nicknames SELECT id, 'n' FROM people WHERE id <= :count", count=count)


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "not analyzed"])
def test_a_walk_by_the_primary_key_is_never_refused(
    project: Project, database: ScratchDatabase, analyzed: bool
) -> None:
    add_people(database, MANY)
    analyze(database, analyzed)
    project.write_script("full_name", FULL_NAME)
    assert slow_in(project, exits=0) == []
    project.quick("run")
    assert named_people(database) == MANY


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "not analyzed"])
def test_few_pending_rows_far_apart_are_no_reason_to_refuse(
    project: Project, database: ScratchDatabase, analyzed: bool
) -> None:
    add_people(database, MANY)
    database.execute("UPDATE people SET full_name = first || ' ' || last WHERE id % 100 <> 0")
    analyze(database, analyzed)
    project.write_script("full_name", FULL_NAME)
    assert slow_in(project, exits=0) == []
    project.quick("run")
    assert named_people(database) == MANY


def test_a_run_refuses_a_key_without_an_index_of_its_order_before_it_writes(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, MANY)
    project.write_script("by_name", BY_NAME)
    refused = project.quick("run", exits=1).err
    assert "by_name: its batches would be slow" in refused
    assert "It sorts people" in refused
    assert "`datamigrate run by_name --allow-slow`" in refused
    assert named_people(database) == 0
    [slow] = slow_in(project)
    assert slow["sorts"] is True
    assert slow["sql"] in refused
    assert slow["revision"] in refused
    database.execute(slow["sql"].replace("CONCURRENTLY ", ""))
    assert slow_in(project, exits=0) == []
    project.quick("run")
    assert named_people(database) == MANY


def test_allow_slow_runs_it_all_the_same(project: Project, database: ScratchDatabase) -> None:
    add_people(database, MANY)
    project.write_script("by_name", BY_NAME)
    project.quick("run", "--allow-slow")
    assert named_people(database) == MANY


def test_an_upgrade_refuses_it_too(project: Project, database: ScratchDatabase) -> None:
    add_people(database, MANY)
    project.write_script("by_name", BY_NAME)
    assert "its batches would be slow" in project.quick("upgrade", exits=1).err
    assert named_people(database) == 0
    project.quick("upgrade", "--allow-slow")
    assert named_people(database) == MANY


def test_a_table_read_for_every_row_is_refused_until_it_has_its_index(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 1000)
    nicknames(database, 1000)
    project.write_script("nick", LOOKED_UP)
    assert "reads all of nicknames" in project.quick("run", exits=1).err
    [slow] = slow_in(project)
    assert (slow["table"], slow["per_row"]) == ("nicknames", True)
    database.execute(slow["sql"].replace("CONCURRENTLY ", ""))
    project.quick("run")
    assert database.scalar("SELECT count(*) FROM people WHERE nick = 'n'") == 1000


@pytest.mark.parametrize("name", ["nick-names", "nick.names", "nick names"])
def test_the_index_that_is_named_is_made_whatever_the_names_are(
    project: Project, database: ScratchDatabase, name: str
) -> None:
    add_people(database, 1000)
    nicknames(database, 1000)
    database.script(
        f'ALTER TABLE nicknames RENAME TO "{name}"; ALTER TABLE "{name}" RENAME person TO "p.er son"'
    )
    odd = LOOKED_UP.replace('table("nicknames', f'table("{name}').replace('"person"', '"p.er son"')
    project.write_script("nick", odd.replace("c.person", 'c["p.er son"]'))
    [slow] = slow_in(project)
    assert (slow["table"], slow["per_row"]) == (name, True)
    assert f"ix_{name}_p.er son" in slow["revision"]
    database.execute(slow["sql"].replace("CONCURRENTLY ", ""))
    assert slow_in(project, exits=0) == []


def test_a_small_table_may_be_read_as_often_as_is_wanted(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 100)
    nicknames(database, 100)
    project.write_script("nick", LOOKED_UP)
    assert slow_in(project, exits=0) == []


def test_an_index_that_the_planner_passes_over_is_not_missing(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 300)
    nicknames(database, 300)
    database.execute("CREATE INDEX ix ON nicknames (person)")
    analyze(database, True)
    project.write_script("nick", LOOKED_UP)
    assert slow_in(project, exits=0) == []


def test_a_large_table_read_for_every_batch_is_refused(project: Project, database: ScratchDatabase) -> None:
    add_people(database, MANY)
    database.execute("CREATE TABLE chosen (person integer)")
    database.execute("INSERT INTO chosen SELECT id FROM people")
    analyze(database, True)
    project.write_script("nick", CHOSEN_ELSEWHERE)
    [slow] = slow_in(project)
    assert (slow["table"], slow["per_row"]) == ("chosen", False)


def test_the_look_for_pending_rows_is_noted_and_not_refused(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, MANY)
    project.write_script("full_name", FULL_NAME)
    [rehearsal] = project.json("run", "--dry-run")["rehearsals"]
    assert any("fresh look for pending rows in the end reads all of people" in n for n in rehearsal["notes"])


def test_in_a_schema_of_its_own_the_index_is_named_with_it(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    add_people(postgres_database, 1000)
    nicknames(postgres_database, 1000)
    postgres_database.script("CREATE SCHEMA hr; ALTER TABLE nicknames SET SCHEMA hr")
    postgres_project.write_script(
        "nick", LOOKED_UP.replace("sa.Text))\nnick", 'sa.Text), schema="hr")\nnick')
    )
    [slow] = slow_in(postgres_project)
    assert slow["sql"] == "CREATE INDEX CONCURRENTLY ix_nicknames_person ON hr.nicknames (person)"
    assert slow["revision"] == (
        'op.create_index("ix_nicknames_person", "nicknames", ["person"], schema="hr", '
        "postgresql_concurrently=True)"
    )


PARTITIONS = {
    "RANGE (id)": ("FROM (0) TO (15000)", "FROM (15000) TO (100000)"),
    "LIST (shard)": ("IN (0)", "IN (1)"),
    "HASH (id)": ("WITH (modulus 2, remainder 0)", "WITH (modulus 2, remainder 1)"),
}


def partition_people(database: ScratchDatabase, by: str, count: int) -> None:
    first, second = PARTITIONS[by]
    database.script(
        "DROP TABLE people;"
        "CREATE TABLE people (id integer, shard integer, first text, last text, full_name text, nick text, "
        f"PRIMARY KEY (id, shard)) PARTITION BY {by};"
        f"CREATE TABLE people_0 PARTITION OF people FOR VALUES {first};"
        f"CREATE TABLE people_1 PARTITION OF people FOR VALUES {second};"
        f"INSERT INTO people SELECT i, i % 2, 'First' || i, 'Last' || i FROM generate_series(1, {count}) i"
    )


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "not analyzed"])
@pytest.mark.parametrize("by", PARTITIONS)
def test_a_walk_by_the_primary_key_of_a_partitioned_table_is_never_refused(
    postgres_project: Project, postgres_database: ScratchDatabase, by: str, analyzed: bool
) -> None:
    partition_people(postgres_database, by, 2 * MANY)
    analyze(postgres_database, analyzed)
    postgres_project.write_script("full_name", FULL_NAME)
    assert slow_in(postgres_project, exits=0) == []
    postgres_project.quick("run")
    assert named_people(postgres_database) == 2 * MANY


def test_a_partition_that_lacks_the_index_of_the_others_is_refused(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    partition_people(postgres_database, "LIST (shard)", 2 * MANY)
    postgres_database.script("CREATE INDEX ON people_0 (first, id, shard); ANALYZE")
    postgres_project.write_script("by_name", BY_NAME_AND_SHARD)
    [slow] = slow_in(postgres_project)
    assert (slow["table"], slow["per_row"]) == ("people_1", False)
    postgres_database.script("CREATE INDEX ON people_1 (first, id, shard)")
    assert slow_in(postgres_project, exits=0) == []


@pytest.mark.parametrize("part_by_part", [True, False], ids=["part by part", "at once"])
def test_a_partitioned_table_is_refused_until_it_has_the_index_that_is_named(
    postgres_project: Project, postgres_database: ScratchDatabase, part_by_part: bool
) -> None:
    partition_people(postgres_database, "LIST (shard)", 2 * MANY)
    analyze(postgres_database, True)
    postgres_project.write_script("by_name", BY_NAME_AND_SHARD)
    refused = postgres_project.quick("run", exits=1).err
    assert f"It sorts people (about {2 * MANY:,} rows) for every batch." in refused
    assert "CREATE INDEX ix_people_first_id_shard ON people (first, id, shard);" in refused
    assert "unless each partition has been given such an index CONCURRENTLY before" in refused
    if part_by_part:
        postgres_database.script("CREATE INDEX ON people_0 (first, id, shard)")
        assert [slow["table"] for slow in slow_in(postgres_project)] == ["people_1"]
        postgres_database.script("CREATE INDEX ON people_1 (first, id, shard)")
    else:
        postgres_database.script("CREATE INDEX ix_people_first_id_shard ON people (first, id, shard)")
    assert slow_in(postgres_project, exits=0) == []
    postgres_project.quick("run")
    assert named_people(postgres_database) == 2 * MANY


def test_a_partition_that_the_script_names_is_named_as_it_does(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    partition_people(postgres_database, "LIST (shard)", 2 * MANY)
    script = postgres_project.write_script("by_name", BY_NAME_AND_SHARD)
    script.write_text(script.read_text().replace('"people",', '"people_0",', 1))
    [slow] = slow_in(postgres_project)
    assert (
        slow["sql"] == "CREATE INDEX CONCURRENTLY ix_people_0_first_id_shard ON people_0 (first, id, shard)"
    )


def test_a_large_table_of_the_same_name_in_another_schema_does_not_matter(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    add_people(postgres_database, 100)
    postgres_database.script(
        "CREATE SCHEMA other; CREATE TABLE other.people AS "
        f"SELECT i AS id, 'First' || i AS first FROM generate_series(1, {MANY}) i; ANALYZE"
    )
    postgres_project.write_script("by_name", BY_NAME)
    assert slow_in(postgres_project, exits=0) == []


@pytest.mark.parametrize("instead", ["NOTHING", "NOTIFY updated"])
def test_a_rule_that_leaves_nothing_to_plan_is_not_slow(
    postgres_project: Project, postgres_database: ScratchDatabase, instead: str
) -> None:
    add_people(postgres_database, 10)
    postgres_database.execute(f"CREATE RULE kept AS ON UPDATE TO people DO INSTEAD {instead}")
    postgres_project.write_script("full_name", FULL_NAME)
    assert slow_in(postgres_project, exits=0) == []
    assert "10 rows are still pending" in postgres_project.quick("run", exits=1).err


def test_a_slow_statement_is_refused_whatever_a_rule_does_besides(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    add_people(postgres_database, 1000)
    nicknames(postgres_database, 1000)
    postgres_database.script(
        "CREATE TABLE seen (id integer); CREATE RULE too AS ON UPDATE TO people DO ALSO INSERT INTO seen VALUES (1)"
    )
    postgres_project.write_script("nick", LOOKED_UP)
    assert [slow["table"] for slow in slow_in(postgres_project)] == ["nicknames"]
