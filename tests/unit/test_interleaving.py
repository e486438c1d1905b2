"""Schema and data on one way: what comes when, and what can never come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.interleaving import DataLeg, Journey, Revision, SchemaLeg, interleave
from datamigrate.thought.lifecycle import State
from datamigrate.thought.planner import Record, Revisions, Schema, make_plan
from datamigrate.words.errors import GraphError
from datamigrate.words.migration import Migration


def migration(name: str, requires: str, *depends_on: str, until: str = "") -> Migration:
    return Migration(
        name=name,
        file=Path(f"{name}.py"),
        title="",
        requires=(requires,),
        depends_on=depends_on,
        until=(until,) if until else (),
        tags=frozenset(),
        kind="update",
        checksum="c",
    )


def chain(*ids: str, gates: Mapping[str, tuple[str, ...]] | None = None) -> list[Revision]:
    waits = gates or {}
    parents = [(), *((previous,) for previous in ids)]
    return [Revision(id_, parent, waits.get(id_, ())) for id_, parent in zip(ids, parents, strict=False)]


def way(
    revisions: list[Revision],
    migrations: list[Migration],
    applied: frozenset[str] = frozenset(),
    ledger: Mapping[str, Record] | None = None,
    remembered: frozenset[str] = frozenset(),
) -> Journey:
    order = {revision.id: place for place, revision in enumerate(revisions)}
    resolved = {m.name: Revisions(m.requires, m.until) for m in migrations}
    plan = make_plan(migrations, resolved, Schema((), applied, order), ledger or {})
    ahead = [revision for revision in revisions if revision.id not in applied]
    return interleave(ahead, applied, plan, resolved, remembered)


def legs(journey: Journey) -> list[str]:
    return [
        "+".join(r.id for r in leg.revisions) if isinstance(leg, SchemaLeg) else leg.name
        for leg in journey.legs
    ]


def test_without_gates_the_schema_goes_first_and_all_data_follows() -> None:
    assert legs(way(chain("a", "b", "c"), [migration("fill", "a"), migration("count", "c")])) == [
        "a+b+c",
        "fill",
        "count",
    ]


def test_data_behind_a_gate_runs_as_late_as_the_gate() -> None:
    revisions = chain("a", "b", "c", "d", gates={"c": ("fill",)})
    journey = way(revisions, [migration("fill", "a"), migration("other", "a")])
    assert legs(journey) == ["a+b", "fill", "c+d", "other"]
    assert journey.legs[1] == DataLeg("fill", ("c",))


def test_what_the_gated_data_depends_on_comes_before_it() -> None:
    revisions = chain("a", "b", gates={"b": ("slug",)})
    assert legs(way(revisions, [migration("slug", "a", "name"), migration("name", "a")])) == [
        "a",
        "name",
        "slug",
        "b",
    ]


def test_data_that_is_done_opens_its_gate_without_a_leg() -> None:
    revisions = chain("a", "b", gates={"b": ("fill",)})
    done = {"fill": Record(State.DONE, "c", 3)}
    assert legs(way(revisions, [migration("fill", "a")], frozenset("a"), done)) == ["b"]


def test_a_migration_whose_file_is_gone_is_taken_at_the_ledgers_word() -> None:
    revisions = chain("a", "b", gates={"b": ("gone",)})
    assert legs(way(revisions, [], remembered=frozenset({"gone"}))) == ["a+b"]


def test_a_gate_that_names_nobody_is_an_error() -> None:
    with pytest.raises(GraphError, match="no script has"):
        way(chain("a", "b", gates={"b": ("nobody",)}), [])


def test_another_branch_is_walked_when_the_gated_data_requires_it() -> None:
    left, right = Revision("left", (), ("fill",)), Revision("right", ())
    merged = Revision("merged", ("left", "right"))
    assert legs(way([left, right, merged], [migration("fill", "right")])) == ["right", "fill", "left+merged"]


def test_data_that_requires_a_revision_behind_its_own_gate_is_explained() -> None:
    revisions = chain("a", "b", "c", gates={"b": ("fill",)})
    with pytest.raises(GraphError) as caught:
        way(revisions, [migration("fill", "c")])
    assert "revision b waits for the data of fill, which requires revision c" in caught.value.message


def test_a_dependency_that_comes_too_late_is_explained() -> None:
    revisions = chain("a", "b", "c", gates={"b": ("slug",)})
    with pytest.raises(GraphError, match="name, which requires revision c"):
        way(revisions, [migration("slug", "a", "name"), migration("name", "c")])


def test_data_that_needs_more_than_the_target_stays_where_it_is() -> None:
    journey = way(chain("a"), [migration("later", "z"), migration("now", "a")])
    assert legs(journey) == ["a", "now"]
    assert [step.migration.name for step in journey.left] == ["later"]


def test_nothing_ahead_is_no_way_at_all() -> None:
    done = {"fill": Record(State.DONE, "c", 3)}
    assert way(chain("a"), [migration("fill", "a")], frozenset("a"), done) == Journey(())


def test_data_that_is_halted_stays_and_a_gate_on_it_names_the_command() -> None:
    paused = {"fill": Record(State.PAUSED, "c", 3)}
    journey = way(chain("a", "b"), [migration("fill", "a")], ledger=paused)
    assert legs(journey) == ["a+b"]
    assert [step.migration.name for step in journey.left] == ["fill"]
    with pytest.raises(GraphError, match="Revision b waits for the data of fill, which is halted") as caught:
        way(chain("a", "b", gates={"b": ("fill",)}), [migration("fill", "a")], ledger=paused)
    assert "`datamigrate resume fill`" in caught.value.hint


@given(st.data())
def test_every_revision_and_every_migration_is_passed_once_and_in_order(data: st.DataObject) -> None:
    ids = [f"r{i}" for i in range(data.draw(st.integers(1, 8)))]
    required = data.draw(st.lists(st.sampled_from(ids), max_size=6))
    migrations = [migration(f"m{i}", requires) for i, requires in enumerate(required)]
    gates = {
        later: (f"m{i}",)
        for i, requires in enumerate(required)
        if data.draw(st.booleans())
        for later in ids[ids.index(requires) + 1 :][:1]
    }
    journey = way(chain(*ids, gates=gates), migrations)
    passed = [name for leg in legs(journey) for name in leg.split("+")]
    assert sorted(passed) == sorted([*ids, *(m.name for m in migrations)])
    assert [name for name in passed if name in ids] == ids
    for m in migrations:
        assert passed.index(m.requires[0]) < passed.index(m.name)
    for revision, names in gates.items():
        assert all(passed.index(name) < passed.index(revision) for name in names)
