"""Migrations that cannot run yet, tried where what they wait for has been done and will not stay."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import anyio
from sqlalchemy.engine import Connection

from datamigrate.authoring.script import Script
from datamigrate.database.ahead import Ahead
from datamigrate.database.faults import said_by
from datamigrate.doing.failing import failed_batch
from datamigrate.doing.rehearsal import Rehearsal, rehearse
from datamigrate.doing.sampling import RehearsalLimits
from datamigrate.doing.work import Work
from datamigrate.doing.working import work_for
from datamigrate.thought.interleaving import DataLeg, Leg, SchemaLeg
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import NOBODY, Claim
from datamigrate.words.errors import DatamigrateError

MOST_PREPARED = 10_000
BATCH = Pace(rows=1_000, span=200_000)

Apply = Callable[[Connection, str, list[str]], None]
"""Applies a revision on a connection, and notes in the list which names its gates wait for."""


@dataclass(frozen=True)
class Unseen:
    """A migration that was not previewed, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """A migration that another one stands on: so many of its pending rows were done on the way."""

    name: str
    rows: int
    pending: int | None


@dataclass(frozen=True)
class Way:
    """What was done on the way to the migrations previewed, and is undone: revisions, data, and the names
    at the gates that were taken as passed. `copied` is the size of the copy in bytes, None in a transaction."""

    revisions: tuple[str, ...] = ()
    prepared: tuple[Prepared, ...] = ()
    gates: tuple[str, ...] = ()
    copied: int | None = None

    @property
    def in_part(self) -> tuple[Prepared, ...]:
        """The data that is there only in part."""
        return tuple(p for p in self.prepared if p.pending is not None and p.rows < p.pending)


@dataclass(frozen=True)
class Preview:
    """What was seen of migrations that cannot run yet; without a way, nobody has gone there."""

    rehearsals: tuple[Rehearsal, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    way: Way | None = None


@dataclass(frozen=True, eq=False)
class Expedition:
    """Where to go: the legs in order, the migrations wanted among them, and what it takes to go there."""

    legs: tuple[Leg, ...]
    wanted: frozenset[str]
    scripts: Mapping[str, Script]
    apply: Apply


async def look_ahead(ahead: Ahead, expedition: Expedition, limits: RehearsalLimits) -> Preview:
    """Go the way leg by leg and rehearse what is wanted where its turn is. What fails ends the way.

    It ends by itself after `limits.time` seconds for each leg.
    """
    walk = _Walk(ahead, expedition, limits, Way(copied=ahead.copied))
    legs = _needed(expedition)
    with anyio.move_on_after(limits.time * max(1, len(legs))) as clock:
        for leg in legs:
            if not walk.obstacle:
                await walk.go(leg)
    if clock.cancelled_caught:
        walk.obstacle = f"the way there took more than {limits.time * len(legs):g} seconds"
    seen = {rehearsal.name for rehearsal in walk.rehearsals}
    unseen = [
        Unseen(leg.name, walk.obstacle)
        for leg in legs
        if isinstance(leg, DataLeg) and leg.name in expedition.wanted - seen
    ]
    return Preview(tuple(walk.rehearsals), tuple(unseen), walk.way)


@dataclass(eq=False)
class _Walk:
    """How far it has got; an `obstacle` is why it goes no further."""

    ahead: Ahead
    expedition: Expedition
    limits: RehearsalLimits
    way: Way
    rehearsals: list[Rehearsal] = field(default_factory=list)
    obstacle: str = ""

    async def go(self, leg: Leg) -> None:
        if isinstance(leg, DataLeg):
            await self._visit(self.expedition.scripts[leg.name])
            return
        for revision in leg.revisions:
            if not self.obstacle:
                await self._apply(revision.id)

    async def _apply(self, revision: str) -> None:
        met: list[str] = []
        try:
            await self.ahead.alter(lambda connection: self.expedition.apply(connection, revision, met))
        except Exception as error:
            self.obstacle = f"revision {revision} cannot be applied in a preview: {_said(error)}"
            if self.way.in_part:
                names = ", ".join(prepared.name for prepared in self.way.in_part)
                self.obstacle += f" (the data of {names} was prepared only in part)"
            return
        gates = tuple(dict.fromkeys((*self.way.gates, *met)))
        self.way = replace(self.way, revisions=(*self.way.revisions, revision), gates=gates)

    async def _visit(self, script: Script) -> None:
        try:
            work = await work_for(self.ahead.database, script)
        except DatamigrateError as error:
            self._note(Rehearsal(script.name, None, error=error))
            return
        if script.name in self.expedition.wanted:
            # further on there are rows that lack what they stand on
            limits = replace(self.limits, beginning_only=bool(self.way.in_part))
            self._note(await rehearse(self.ahead.database, script, work, limits))
        if not self.obstacle and script.name in _stood_on(self.expedition):
            await self._prepare(script, work)

    def _note(self, rehearsal: Rehearsal) -> None:
        if rehearsal.name in self.expedition.wanted:
            self.rehearsals.append(rehearsal)
        if rehearsal.error:
            said = rehearsal.error.message.partition("\n")[0]
            self.obstacle = f"{rehearsal.name}, which comes before it, would fail ({said})"
        elif rehearsal.cut_off:
            # the statement that was broken off has taken the transaction with it
            self.obstacle = f"{rehearsal.name}, which comes before it, was cut off by the time limit"

    async def _prepare(self, script: Script, work: Work) -> None:
        try:
            prepared = await _prepared(self.ahead, script, work, self.limits)
        except Exception as error:
            failure = failed_batch(self.ahead.database.dialect, script.migration, error, kept=0)
            self._note(Rehearsal(script.name, None, error=failure))
        else:
            self.way = replace(self.way, prepared=(*self.way.prepared, prepared))


async def _prepared(ahead: Ahead, script: Script, work: Work, limits: RehearsalLimits) -> Prepared:
    """Do the first rows of a migration in real batches, as many as a short transaction bears."""
    database = ahead.database
    async with database.looking() as connection:
        estimate = await work.estimate(connection)
        upper = await work.find_upper(connection)
    pending = estimate.rows if estimate else None
    claim = Claim("", 0, 0, NOBODY, upper=upper, exhausted=upper is None)
    if not work.has_slices and (pending or 0) > MOST_PREPARED:
        # a free form is done whole or not at all
        return Prepared(script.name, 0, pending)
    while not claim.exhausted and claim.tally.rows < MOST_PREPARED:
        portion = await work.prepare(database.looking, claim, BATCH)
        async with database.writing(limits.timeouts) as connection:
            change = await work.apply(connection, portion, thorough=False)
        claim = claim.after(change.cursor, change.exhausted or not work.has_slices, change.rows, 0)
    return Prepared(script.name, claim.tally.rows, pending)


def _needed(expedition: Expedition) -> list[Leg]:
    """The legs that lead to something wanted."""
    stood_on = _stood_on(expedition)
    legs = [
        leg
        for leg in expedition.legs
        if not isinstance(leg, DataLeg) or leg.name in expedition.wanted | stood_on
    ]
    while legs and not (isinstance(legs[-1], DataLeg) and legs[-1].name in expedition.wanted):
        legs.pop()
    return legs


def _stood_on(expedition: Expedition) -> frozenset[str]:
    """The migrations whose rows have to be there: for a gate further on, or for a later one wanted."""
    found: set[str] = set()
    for leg in reversed(expedition.legs):
        if isinstance(leg, SchemaLeg):
            found |= {name for revision in leg.revisions for name in revision.gates}
        elif leg.name in expedition.wanted | found:
            found |= set(expedition.scripts[leg.name].migration.depends_on)
    return frozenset(found)


def _said(error: Exception) -> str:
    """What an error says, in a clause."""
    return said_by(error).rstrip(".") or type(error).__name__
