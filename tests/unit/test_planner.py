"""What `run` would do, in order, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.lifecycle import State
from datamigrate.thought.planner import (
    LATER,
    SETTLED,
    TO_DO,
    Action,
    Plan,
    Record,
    Revisions,
    Schema,
    Step,
    make_plan,
)
from datamigrate.words.errors import GraphError
from datamigrate.words.migration import Migration, Options
from unit.samples import migration

HISTORY = ("r1", "r2", "r3", "r4")


def schema(*applied: str) -> Schema:
    """A schema whose history is one line, with these revisions applied."""
    return Schema(applied[-1:], frozenset(applied), {name: i for i, name in enumerate(HISTORY)})


def plan(
    migrations: Iterable[Migration],
    ledger: Mapping[str, Record] | None = None,
    applied: Iterable[str] = HISTORY,
    until: Mapping[str, str] | None = None,
) -> Plan:
    """The plan, with each script's revisions taken as they are written."""
    several = list(migrations)
    ends = until or {}
    revisions = {m.name: Revisions(m.requires, (ends[m.name],) if m.name in ends else ()) for m in several}
    return make_plan(several, revisions, schema(*applied), ledger or {})


def only(step_of: Plan) -> Step:
    (step,) = step_of.steps
    return step


def named(of: Plan, name: str) -> Step:
    return next(step for step in of.steps if step.migration.name == name)


def order(of: Plan) -> list[str]:
    return [step.migration.name for step in of.steps]


# order


def test_dependencies_come_before_the_schema_history() -> None:
    early = migration("early", depends_on=("late",), requires=("r1",))
    late = migration("late", requires=("r3",))
    assert order(plan([early, late])) == ["late", "early"]


def test_the_schema_history_comes_before_the_file_name() -> None:
    second = migration("second", requires=("r2",), file="2026_a.py")
    first = migration("first", requires=("r1",), file="2026_b.py")
    assert order(plan([second, first])) == ["first", "second"]


def test_with_the_same_revision_the_file_name_decides() -> None:
    both = [migration("x", requires=("r1",), file="b.py"), migration("y", requires=("r1",), file="a.py")]
    assert order(plan(both)) == ["y", "x"]


def test_of_several_required_revisions_the_latest_counts() -> None:
    several = migration("several", requires=("r1", "r4"), file="a.py")
    one = migration("one", requires=("r2",), file="b.py")
    assert order(plan([several, one])) == ["one", "several"]


def test_one_that_requires_no_revision_comes_first() -> None:
    assert order(plan([migration("a", requires=("r1",)), migration("z")])) == ["z", "a"]


# what is to be done


def test_one_that_the_ledger_does_not_know_is_run() -> None:
    step = only(plan([migration("a")]))
    assert (step.action, step.reason) == (Action.RUN, "never run")


def test_a_pending_one_is_run() -> None:
    step = only(plan([migration("a")], {"a": Record(State.PENDING, "1")}))
    assert (step.action, step.reason) == (Action.RUN, "pending again")


@pytest.mark.parametrize("state", [State.RUNNING, State.STOPPED, State.FAILED, State.PENDING])
def test_one_that_has_begun_is_resumed(state: State) -> None:
    step = only(plan([migration("a")], {"a": Record(state, "1", rows=1200)}))
    assert (step.action, step.reason) == (Action.RESUME, f"{state} after 1,200 rows")


def test_one_that_was_edited_half_way_says_that_it_begins_again() -> None:
    step = only(plan([migration("a", checksum="2")], {"a": Record(State.STOPPED, "1", rows=7)}))
    assert step.action is Action.RESUME
    assert "starts again from the first row" in step.reason


def test_a_done_one_is_done() -> None:
    step = only(plan([migration("a")], {"a": Record(State.DONE, "1", rows=1200)}))
    assert (step.action, step.reason) == (Action.DONE, "1,200 rows")


def test_a_done_one_that_was_edited_has_drifted() -> None:
    step = only(plan([migration("a", checksum="2")], {"a": Record(State.DONE, "1")}))
    assert step.action is Action.DRIFTED
    assert "edited" in step.reason


def test_a_done_one_is_done_whatever_its_revisions_and_dependencies() -> None:
    done = migration("a", depends_on=("b",), requires=("r4",))
    result = plan([done, migration("b")], {"a": Record(State.DONE, "1")}, applied=("r1",))
    assert named(result, "a").action is Action.DONE


# blocked by a revision


def test_one_whose_revision_is_not_applied_is_blocked() -> None:
    step = only(plan([migration("a", requires=("r1", "r3", "r4"))], applied=("r1", "r2")))
    assert step.action is Action.BLOCKED
    assert step.waits_for_revisions == ("r3", "r4")
    assert "r3, r4" in step.reason


def test_a_downgrade_blocks_one_that_has_begun() -> None:
    begun = {"a": Record(State.STOPPED, "1", rows=5)}
    assert only(plan([migration("a", requires=("r3",))], begun, applied=("r1",))).action is Action.BLOCKED


# blocked by a migration


def test_one_whose_dependency_is_to_be_run_follows_it() -> None:
    step = named(plan([migration("b", depends_on=("a",)), migration("a")]), "b")
    assert (step.action, step.reason, step.waits_for) == (Action.RUN, "never run, after a", ("a",))


def test_one_whose_dependency_is_blocked_is_blocked() -> None:
    waiting = migration("b", depends_on=("a",))
    step = named(plan([waiting, migration("a", requires=("r4",))], applied=("r1",)), "b")
    assert (step.action, step.waits_for, step.waits_for_revisions) == (Action.BLOCKED, ("a",), ())
    assert "a, which cannot run yet" in step.reason


def test_being_blocked_is_handed_down_the_line() -> None:
    line = [migration("a", requires=("r4",)), migration("b", ("a",)), migration("c", ("b",))]
    assert {step.action for step in plan(line, applied=("r1",)).steps} == {Action.BLOCKED}


def test_only_the_dependencies_that_stand_in_the_way_are_named() -> None:
    several = [migration("a"), migration("b", requires=("r4",)), migration("c", ("a", "b"))]
    assert named(plan(several, applied=("r1",)), "c").waits_for == ("b",)


@pytest.mark.parametrize(
    "ledger", [{"a": Record(State.DONE, "1")}, {"a": Record(State.DONE, "edited since")}], ids=str
)
def test_one_whose_dependency_is_done_or_drifted_does_not_wait(ledger: dict[str, Record]) -> None:
    step = named(plan([migration("a"), migration("b", ("a",))], ledger), "b")
    assert (step.action, step.waits_for, step.reason) == (Action.RUN, (), "never run")


def test_a_dependency_that_is_done_and_whose_file_is_gone_is_settled() -> None:
    result = plan([migration("b", ("gone",))], {"gone": Record(State.DONE, "1")})
    assert named(result, "b").action is Action.RUN
    assert result.gone == ("gone",)


@pytest.mark.parametrize("state", [State.PENDING, State.STOPPED, State.FAILED, State.RUNNING])
def test_a_dependency_that_is_not_done_and_whose_file_is_gone_blocks(state: State) -> None:
    step = named(plan([migration("b", ("gone",))], {"gone": Record(state, "1", rows=3)}), "b")
    assert (step.action, step.waits_for) == (Action.BLOCKED, ("gone",))


def test_a_dependency_that_nobody_knows_blocks() -> None:
    assert only(plan([migration("b", ("nobody",))])).action is Action.BLOCKED


# obsolete


def test_one_is_obsolete_once_the_revision_that_drops_its_columns_is_applied() -> None:
    step = only(plan([migration("a", requires=("r1",))], until={"a": "r4"}))
    assert step.action is Action.OBSOLETE
    assert "r4" in step.reason


def test_one_is_not_obsolete_before_that() -> None:
    assert only(plan([migration("a")], applied=("r1", "r2"), until={"a": "r4"})).action is Action.RUN


def test_a_done_one_stays_done_after_its_columns_are_dropped() -> None:
    assert (
        only(plan([migration("a")], {"a": Record(State.DONE, "1")}, until={"a": "r4"})).action is Action.DONE
    )


def test_one_whose_dependency_is_obsolete_does_not_wait() -> None:
    step = named(plan([migration("a"), migration("b", ("a",))], until={"a": "r4"}), "b")
    assert (step.action, step.waits_for) == (Action.RUN, ())


# the whole plan


def test_a_plan_knows_what_is_to_do_and_what_has_which_action() -> None:
    result = plan(
        [migration("a"), migration("b", requires=("r4",)), migration("c")],
        {"c": Record(State.STOPPED, "1", rows=1)},
        applied=("r1",),
    )
    assert [s.migration.name for s in result.to_do] == ["a", "c"]
    assert [s.migration.name for s in result.having(Action.BLOCKED)] == ["b"]
    assert result.heads == ("r1",)


def test_a_step_is_told_as_plain_data() -> None:
    step = named(plan([migration("b", ("a",)), migration("a")]), "b")
    assert step.facts() == {
        "name": "b",
        "action": "run",
        "reason": "never run, after a",
        "waits_for_revisions": [],
        "waits_for": ["a"],
        "due": None,
        "may_run_at": None,
        "file": "datamigrations/b.py",
    }


def test_a_circle_cannot_be_planned() -> None:
    with pytest.raises(GraphError):
        plan([migration("a", ("b",)), migration("b", ("a",))])


def test_every_action_is_to_do_or_settled_or_for_later_or_blocked_or_halted() -> None:
    assert TO_DO | SETTLED | LATER | {Action.BLOCKED, Action.HALTED} == set(Action)
    assert not TO_DO & SETTLED
    assert not (TO_DO | SETTLED) & LATER


@pytest.mark.parametrize(
    ("state", "way_on"), [(State.PAUSED, "resume"), (State.CANCELLED, "retry"), (State.HELD, "approve")]
)
def test_what_an_operator_has_halted_says_the_command_and_lets_others_wait(state: State, way_on: str) -> None:
    result = plan([migration("a"), migration("b", ("a",))], {"a": Record(state, "1", rows=1)})
    assert named(result, "a").action is Action.HALTED
    assert named(result, "a").reason == f"{state}; `datamigrate {way_on} a`"
    assert named(result, "b").action is Action.BLOCKED
    assert named(result, "b").waits_for == ("a",)


def test_a_script_that_holds_is_halted_before_the_ledger_knows_it() -> None:
    held = replace(migration("a"), options=Options(hold=True))
    assert only(plan([held])).action is Action.HALTED
    assert only(plan([held], {"a": Record(State.PENDING, "1", begun=False)})).action is Action.RUN


revisions = st.lists(st.sampled_from(HISTORY), unique=True, max_size=2).map(tuple)
records = st.builds(Record, st.sampled_from(State), st.sampled_from("12"), st.integers(0, 9))


@st.composite
def projects(draw: st.DrawFn) -> list[Migration]:
    """Scripts of which each depends on some before it, in any order; perhaps on one that is gone."""
    size = draw(st.integers(0, 7))
    migrations = []
    for i in range(size):
        before = [f"m{j}" for j in range(i)] + ["gone"]
        chosen = tuple(draw(st.lists(st.sampled_from(before), unique=True, max_size=3)))
        file = draw(st.sampled_from("abc")) + f"{i}.py"
        migrations.append(migration(f"m{i}", chosen, draw(revisions), file))
    return draw(st.permutations(migrations))


@given(projects(), st.dictionaries(st.sampled_from(["gone", *(f"m{i}" for i in range(7))]), records))
def test_every_migration_is_planned_once_after_its_dependencies(
    migrations: list[Migration], ledger: dict[str, Record]
) -> None:
    result = plan(migrations, ledger, applied=HISTORY[:2])
    assert sorted(order(result)) == sorted(m.name for m in migrations)
    place = {name: i for i, name in enumerate(order(result))}
    for one in migrations:
        assert all(place[d] < place[one.name] for d in one.depends_on if d in place)
    assert set(result.gone) == set(ledger) - set(place)


@given(projects(), st.dictionaries(st.sampled_from([f"m{i}" for i in range(7)]), records))
def test_nothing_is_to_do_whose_dependencies_cannot_be_done_before_it(
    migrations: list[Migration], ledger: dict[str, Record]
) -> None:
    result = plan(migrations, ledger, applied=HISTORY[:2])
    possible = {s.migration.name for s in result.steps if s.action is not Action.BLOCKED}
    for step in result.to_do:
        assert set(step.migration.depends_on) <= possible
        assert set(step.migration.requires) <= set(HISTORY[:2])


@given(projects(), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_reading(
    migrations: list[Migration], chance: Random
) -> None:
    shuffled = list(migrations)
    chance.shuffle(shuffled)
    assert plan(shuffled) == plan(migrations)
