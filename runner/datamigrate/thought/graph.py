"""Who depends on whom, and an order that respects it."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import Any

from datamigrate.words.errors import GraphError
from datamigrate.words.migration import Migration


def problems(migrations: Iterable[Migration], known: frozenset[str] = frozenset()) -> list[GraphError]:
    """What is wrong with `depends_on`: unknown names and cycles, each with the files that name them.

    `known` are names that are not among these and yet exist: of migrations whose files are gone but which
    the ledger remembers, and of scripts that have a problem of their own.
    """
    everyone = {m.name: m for m in migrations}
    unknown = [
        _unknown(m, dependency, everyone)
        for m in everyone.values()
        for dependency in m.depends_on
        if dependency not in everyone and dependency not in known
    ]
    return [*unknown, *(_cycle(names, everyone) for names in _cycles(everyone))]


def without_cycles(migrations: Iterable[Migration]) -> list[Migration]:
    """Those that can be put in order: all but the members of a cycle."""
    everyone = list(migrations)
    going_round = {name for cycle in _cycles({m.name: m for m in everyone}) for name in cycle}
    return [m for m in everyone if m.name not in going_round]


def in_order(migrations: Iterable[Migration], rank: Callable[[Migration], Any]) -> list[Migration]:
    """Dependencies first; among those that are free to go, the smallest `rank` first.

    Raises GraphError when the dependencies go round in a circle.
    """
    everyone = {m.name: m for m in migrations}
    sorter = TopologicalSorter(_edges(everyone))
    try:
        sorter.prepare()
    except CycleError as error:
        raise _cycle(error.args[1], everyone) from None
    ordered: list[Migration] = []
    ready: list[tuple[Any, str]] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heappush(ready, (rank(everyone[name]), name))
        _, first = heappop(ready)
        ordered.append(everyone[first])
        sorter.done(first)
    return ordered


def _edges(everyone: Mapping[str, Migration]) -> dict[str, list[str]]:
    return {m.name: [d for d in m.depends_on if d in everyone] for m in everyone.values()}


def _unknown(migration: Migration, dependency: str, everyone: Mapping[str, Migration]) -> GraphError:
    close = get_close_matches(dependency, everyone, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "`datamigrate list` shows the names there are."
    return GraphError(f"{migration.file}: depends_on names {dependency!r}, which no script has.", hint)


def _cycles(everyone: Mapping[str, Migration]) -> list[list[str]]:
    rest, cycles = dict(everyone), []
    while True:
        try:
            TopologicalSorter(_edges(rest)).prepare()
        except CycleError as error:
            cycles.append(error.args[1])
            for name in set(error.args[1]):
                del rest[name]
        else:
            return cycles


def _cycle(names: list[str], everyone: Mapping[str, Migration]) -> GraphError:
    # graphlib lists a cycle against the direction of "depends on"
    walk = list(reversed(names))
    files = "\n".join(f"  {everyone[name].file}" for name in dict.fromkeys(walk))
    return GraphError(
        f"These data migrations wait for each other: {' -> '.join(walk)}.\n{files}",
        "Take one name out of one `depends_on`.",
    )
