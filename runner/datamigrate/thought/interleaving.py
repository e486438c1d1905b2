"""Schema and data upgraded together: which revisions first, which data behind which gate, and then on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datamigrate.thought.planner import LATER, Action, Plan, Revisions, Step
from datamigrate.words.errors import GraphError


@dataclass(frozen=True)
class Revision:
    """One schema revision to be applied: what it stands on, and the data migrations it waits for."""

    id: str
    parents: tuple[str, ...]
    gates: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class SchemaLeg:
    """Revisions to apply one after another."""

    revisions: tuple[Revision, ...]

    def facts(self) -> dict[str, Any]:
        """The leg as plain data, for JSON."""
        return {"schema": [revision.id for revision in self.revisions]}


@dataclass(frozen=True)
class DataLeg:
    """A data migration to run, and the revisions whose gate it opens."""

    name: str
    opens: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """The leg as plain data, for JSON."""
        return {"data": self.name, "opens": list(self.opens)}


Leg = SchemaLeg | DataLeg


@dataclass(frozen=True)
class Journey:
    """The legs in order; `left` are the data migrations that stay blocked at the end, and why."""

    legs: tuple[Leg, ...]
    left: tuple[Step, ...] = ()


def interleave(
    revisions: Sequence[Revision],
    applied: frozenset[str],
    plan: Plan,
    resolved: Mapping[str, Revisions],
    remembered: frozenset[str] = frozenset(),
) -> Journey:
    """The way from `applied` through all `revisions` (parents first), and the data along it.

    A revision is taken as soon as its parents are applied and its gates are open; data runs in the middle
    only when a gate waits for it, and the rest at the end. `remembered` are migrations that are done
    though their files are gone. Raises GraphError when schema and data wait for each other, or when a
    gate names a migration that nobody knows.
    """
    steps = {step.migration.name: step for step in plan.steps}
    _refuse_unknown_gates(revisions, steps, remembered)
    travel = _Travel(list(revisions), set(applied), steps, resolved, set(remembered))
    return travel.whole()


class _Travel:
    """Where the journey has got to."""

    def __init__(
        self,
        ahead: list[Revision],
        applied: set[str],
        steps: Mapping[str, Step],
        resolved: Mapping[str, Revisions],
        done: set[str],
    ) -> None:
        self.ahead = ahead
        self.applied = applied
        self.steps = steps
        self.resolved = resolved
        self.done = done | {name for name, step in steps.items() if step.is_settled}
        self.legs: list[Leg] = []

    def whole(self) -> Journey:
        while self.ahead:
            if revisions := self._free_revisions():
                self.legs.append(SchemaLeg(revisions))
            elif (name := self._behind_a_gate()) is not None:
                waiting = tuple(r.id for r in self.ahead if name in self._needed_by(r))
                self._run(name, waiting)
            else:
                raise _deadlock(self.ahead, self.applied, self.done, self.resolved, self.steps)
        while (name := next((n for n in self.steps if self._is_wanted(n)), None)) is not None:
            self._run(name, ())
        left = tuple(step for name, step in self.steps.items() if name not in self.done)
        return Journey(tuple(self.legs), left)

    def _free_revisions(self) -> tuple[Revision, ...]:
        taken: list[Revision] = []
        while (revision := next((r for r in self.ahead if self._may_apply(r)), None)) is not None:
            self.ahead.remove(revision)
            self.applied.add(revision.id)
            taken.append(revision)
        return tuple(taken)

    def _may_apply(self, revision: Revision) -> bool:
        return set(revision.parents) <= self.applied and set(revision.gates) <= self.done

    def _behind_a_gate(self) -> str | None:
        reached = [r for r in self.ahead if set(r.parents) <= self.applied]
        needed = {name for revision in reached for name in self._needed_by(revision)}
        return next((name for name in self.steps if name in needed and self._is_free(name)), None)

    def _needed_by(self, revision: Revision) -> set[str]:
        return _with_dependencies(revision.gates, self.steps)

    def _is_free(self, name: str) -> bool:
        if name in self.done or self.steps[name].action is Action.HALTED:
            return False
        revisions = self.resolved[name]
        return (
            set(revisions.requires) <= self.applied
            and not set(revisions.until) & self.applied
            and set(self.steps[name].migration.depends_on) <= self.done
        )

    def _is_wanted(self, name: str) -> bool:
        # what has its own time is asked for before only when a gate waits for it
        return self._is_free(name) and self.steps[name].action not in LATER

    def _run(self, name: str, opens: tuple[str, ...]) -> None:
        self.done.add(name)
        self.legs.append(DataLeg(name, opens))


def _with_dependencies(names: Iterable[str], steps: Mapping[str, Step]) -> set[str]:
    found: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in found and name in steps:
            found.add(name)
            queue += steps[name].migration.depends_on
    return found


def _refuse_unknown_gates(
    revisions: Iterable[Revision], steps: Mapping[str, Step], remembered: frozenset[str]
) -> None:
    for revision in revisions:
        for name in revision.gates:
            if name not in steps and name not in remembered:
                raise GraphError(
                    f"Revision {revision.id} requires the data of {name!r}, which no script has "
                    "and the ledger does not know.",
                    "Restore its file, or mend op.require_data(...) in the revision.",
                )


def _deadlock(
    ahead: Sequence[Revision],
    applied: set[str],
    done: set[str],
    resolved: Mapping[str, Revisions],
    steps: Mapping[str, Step],
) -> GraphError:
    sentences: list[str] = []
    for revision in (r for r in ahead if set(r.parents) <= applied):
        for name in sorted(_with_dependencies(revision.gates, steps) - done):
            if steps[name].action is Action.HALTED:
                return GraphError(
                    f"Revision {revision.id} waits for the data of {name}, which is halted.",
                    f"It is {steps[name].reason}, then upgrade again.",
                )
            sentences += _why_stuck(revision, name, applied, resolved[name])
    return GraphError(
        "Schema and data wait for each other:\n  " + "\n  ".join(dict.fromkeys(sentences)),
        "Let the gate stand in a later revision, or let the data migration require an earlier one.",
    )


def _why_stuck(revision: Revision, name: str, applied: set[str], needs: Revisions) -> list[str]:
    gate = f"revision {revision.id} waits for the data of {name}"
    if missing := [r for r in needs.requires if r not in applied]:
        return [f"{gate}, which requires revision {', '.join(missing)}, which comes after {revision.id}."]
    if dropped := [r for r in needs.until if r in applied]:
        return [f"{gate}, which was of use only until revision {', '.join(dropped)}."]
    return [f"{gate}, which cannot run either."]
