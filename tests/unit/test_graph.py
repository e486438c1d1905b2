"""Who depends on whom."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.graph import in_order, problems, without_cycles
from datamigrate.words.errors import GraphError
from datamigrate.words.migration import Migration
from unit.samples import migration

NAMES = "abcdefgh"


def by_name(one: Migration) -> str:
    return one.name


def names(migrations: list[Migration]) -> list[str]:
    return [m.name for m in migrations]


@st.composite
def graphs(draw: st.DrawFn) -> list[Migration]:
    """Any graph, circles and unknown names included."""
    chosen = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return [
        migration(name, tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))))
        for name in chosen
    ]


def test_a_dependency_comes_first() -> None:
    assert names(in_order([migration("a", ("z",)), migration("z")], by_name)) == ["z", "a"]


def test_among_those_that_are_free_the_smallest_comes_first() -> None:
    free = [migration("c"), migration("a"), migration("b")]
    assert names(in_order(free, by_name)) == ["a", "b", "c"]


def test_one_that_becomes_free_takes_its_place_by_rank() -> None:
    everyone = [migration("b", ("a",)), migration("c"), migration("a")]
    assert names(in_order(everyone, by_name)) == ["a", "b", "c"]


def test_a_dependency_that_is_not_there_does_not_stand_in_the_way_of_an_order() -> None:
    assert names(in_order([migration("a", ("gone",))], by_name)) == ["a"]


def test_a_diamond_is_put_in_order_once() -> None:
    everyone = [migration("d", ("b", "c")), migration("c", ("a",)), migration("b", ("a",)), migration("a")]
    assert names(in_order(everyone, by_name)) == ["a", "b", "c", "d"]


def test_a_circle_cannot_be_put_in_order() -> None:
    with pytest.raises(GraphError, match="wait for each other"):
        in_order([migration("a", ("b",)), migration("b", ("a",))], by_name)


def test_a_circle_is_told_in_the_direction_of_depends_on_with_its_files() -> None:
    circle = [migration("a", ("b",)), migration("b", ("c",)), migration("c", ("a",)), migration("d")]
    (problem,) = problems(circle)
    told = problem.message.splitlines()
    walk = told[0].removeprefix("These data migrations wait for each other: ").rstrip(".").split(" -> ")
    assert walk[0] == walk[-1]
    assert set(walk) == {"a", "b", "c"}
    wanted = {m.name: m.depends_on for m in circle}
    assert all(after in wanted[before] for before, after in pairwise(walk))
    assert sorted(line.strip() for line in told[1:]) == [
        "datamigrations/a.py",
        "datamigrations/b.py",
        "datamigrations/c.py",
    ]
    assert "depends_on" in problem.hint


def test_one_that_depends_on_itself_is_a_circle() -> None:
    (problem,) = problems([migration("a", ("a",))])
    assert "a -> a" in problem.message


def test_every_circle_is_told() -> None:
    two = [migration("a", ("b",)), migration("b", ("a",)), migration("c", ("d",)), migration("d", ("c",))]
    assert len(problems(two)) == 2


def test_an_unknown_name_is_told_with_the_file_and_a_near_one() -> None:
    (problem,) = problems([migration("fill_names"), migration("b", ("fill_name",))])
    assert "datamigrations/b.py" in problem.message
    assert "'fill_name'" in problem.message
    assert problem.hint == "Did you mean 'fill_names'?"


def test_an_unknown_name_that_is_near_to_none_points_at_the_list() -> None:
    (problem,) = problems([migration("a", ("something_else",))])
    assert "`datamigrate list`" in problem.hint


def test_a_name_that_is_known_from_elsewhere_is_no_problem() -> None:
    assert problems([migration("a", ("gone",))], known=frozenset({"gone"})) == []


def test_unknown_names_do_not_hide_a_circle() -> None:
    told = problems([migration("a", ("a",)), migration("b", ("nobody",))])
    assert len(told) == 2


def test_without_its_circles_a_graph_can_be_put_in_order() -> None:
    everyone = [migration("a", ("b",)), migration("b", ("a",)), migration("c"), migration("d", ("c",))]
    assert names(without_cycles(everyone)) == ["c", "d"]


@given(graphs())
def test_every_graph_can_be_put_in_order_once_its_circles_are_taken_out(everyone: list[Migration]) -> None:
    left = without_cycles(everyone)
    ordered = in_order(left, by_name)
    place = {m.name: i for i, m in enumerate(ordered)}
    assert sorted(place) == sorted(m.name for m in left)
    for one in ordered:
        assert all(place[d] < place[one.name] for d in one.depends_on if d in place)


@given(graphs())
def test_no_problem_means_that_there_is_an_order(everyone: list[Migration]) -> None:
    if not problems(everyone):
        assert without_cycles(everyone) == everyone
        assert len(in_order(everyone, by_name)) == len(everyone)


@given(graphs())
def test_the_order_does_not_depend_on_the_order_of_reading(everyone: list[Migration]) -> None:
    left = without_cycles(everyone)
    assert names(in_order(left, by_name)) == names(in_order(left[::-1], by_name))
