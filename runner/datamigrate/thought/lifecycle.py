"""The states of a data migration, and what may move it from one to another."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from datamigrate.words.errors import LifecycleError


class State(StrEnum):
    """Where a data migration stands in the ledger."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    DONE = "done"
    HELD = "held"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    REVERTING = "reverting"
    REVERTED = "reverted"


class Cause(StrEnum):
    """Why a data migration moved."""

    RUN = "run"
    TAKEN_OVER = "taken over"
    STOP = "stop"
    ERROR = "error"
    VERIFIED = "verified"
    RETRY = "retry"
    RESET = "reset"
    STAMP = "stamp"
    REOPEN = "reopen"
    DOWNGRADE = "downgrade"
    APPROVE = "approve"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    TUNE = "tune"
    REVERT = "revert"
    PRUNE = "prune-undo"
    DUE = "due"


ROUTINE = frozenset({Cause.RUN, Cause.TAKEN_OVER, Cause.STOP, Cause.ERROR, Cause.VERIFIED, Cause.DUE})
"""What runs do by themselves; the others are the words of people, or of what they have deployed."""

UNDOING = frozenset({State.REVERTING, State.REVERTED})
"""On the way back: a move from here to elsewhere, or to here, begins at the first row again."""

HALTED = frozenset({State.HELD, State.PAUSED, State.CANCELLED}) | UNDOING
"""No run touches it until an operator says the word."""

WAY_ON = {
    State.HELD: Cause.APPROVE,
    State.PAUSED: Cause.RESUME,
    State.CANCELLED: Cause.RETRY,
    State.REVERTING: Cause.REVERT,
    State.REVERTED: Cause.RETRY,
}
"""The word that each of these waits for."""


TRANSITIONS: dict[tuple[State, Cause], State] = {
    # `datamigrate run` claims it and begins, or goes on where it stood
    (State.PENDING, Cause.RUN): State.RUNNING,
    (State.STOPPED, Cause.RUN): State.RUNNING,
    (State.FAILED, Cause.RUN): State.RUNNING,
    # its runner died or was cut off, and another claimed its range
    (State.RUNNING, Cause.TAKEN_OVER): State.RUNNING,
    # a signal, a time or batch budget: between two batches, everything before is kept
    (State.RUNNING, Cause.STOP): State.STOPPED,
    # an error that repeating cannot mend: the failing batch is rolled back
    (State.RUNNING, Cause.ERROR): State.FAILED,
    # the ranges are exhausted and a fresh look found no pending row
    (State.RUNNING, Cause.VERIFIED): State.DONE,
    # an operator has mended the cause and puts it back in line, progress kept
    (State.FAILED, Cause.RETRY): State.PENDING,
    (State.STOPPED, Cause.RETRY): State.PENDING,
    # ... also when its runner died without a word
    (State.RUNNING, Cause.RETRY): State.PENDING,
    # an operator wants it walked again from the first row; whoever works on it leaves
    (State.DONE, Cause.RESET): State.PENDING,
    (State.FAILED, Cause.RESET): State.PENDING,
    (State.STOPPED, Cause.RESET): State.PENDING,
    (State.RUNNING, Cause.RESET): State.PENDING,
    (State.PENDING, Cause.RESET): State.PENDING,
    # an operator declares it done: the work was done by other means
    (State.PENDING, Cause.STAMP): State.DONE,
    (State.STOPPED, Cause.STAMP): State.DONE,
    (State.FAILED, Cause.STAMP): State.DONE,
    (State.RUNNING, Cause.STAMP): State.DONE,
    # ... or accepts the edited text of a script that was done before
    (State.DONE, Cause.STAMP): State.DONE,
    # a fresh look, asked for by name or by a gate, found rows in the old form
    (State.DONE, Cause.REOPEN): State.PENDING,
    # its schedule, or an operator by name, says that it is time for the next occurrence
    (State.PENDING, Cause.DUE): State.PENDING,
    (State.DONE, Cause.DUE): State.PENDING,
    # ... and gives up the one before, if that has failed
    (State.FAILED, Cause.DUE): State.PENDING,
    # the schema was downgraded past a revision it requires: what it did went with the column
    (State.DONE, Cause.DOWNGRADE): State.PENDING,
    (State.RUNNING, Cause.DOWNGRADE): State.PENDING,
    (State.STOPPED, Cause.DOWNGRADE): State.PENDING,
    (State.FAILED, Cause.DOWNGRADE): State.PENDING,
    # ... but what an operator has halted stays so
    (State.HELD, Cause.DOWNGRADE): State.HELD,
    (State.PAUSED, Cause.DOWNGRADE): State.PAUSED,
    (State.CANCELLED, Cause.DOWNGRADE): State.CANCELLED,
    # its script says hold=True, and an operator lets it go
    (State.HELD, Cause.APPROVE): State.PENDING,
    # an operator wants it to rest; whoever works on it leaves after the batch
    (State.PENDING, Cause.PAUSE): State.PAUSED,
    (State.RUNNING, Cause.PAUSE): State.PAUSED,
    (State.STOPPED, Cause.PAUSE): State.PAUSED,
    (State.FAILED, Cause.PAUSE): State.PAUSED,
    # ... or says so again, for another reason or with --force
    (State.PAUSED, Cause.PAUSE): State.PAUSED,
    # ... and lets it go on where it stood
    (State.PAUSED, Cause.RESUME): State.PENDING,
    # ... between two occurrences of one that recurs, so that none begins
    (State.DONE, Cause.PAUSE): State.PAUSED,
    # an operator gives it up; what it has done stays
    (State.PENDING, Cause.CANCEL): State.CANCELLED,
    (State.RUNNING, Cause.CANCEL): State.CANCELLED,
    (State.STOPPED, Cause.CANCEL): State.CANCELLED,
    (State.FAILED, Cause.CANCEL): State.CANCELLED,
    (State.HELD, Cause.CANCEL): State.CANCELLED,
    (State.PAUSED, Cause.CANCEL): State.CANCELLED,
    (State.CANCELLED, Cause.CANCEL): State.CANCELLED,
    # ... between two occurrences of one that recurs
    (State.DONE, Cause.CANCEL): State.CANCELLED,
    # ... and thinks better of it, progress kept or forgotten
    (State.CANCELLED, Cause.RETRY): State.PENDING,
    (State.CANCELLED, Cause.RESET): State.PENDING,
    (State.PAUSED, Cause.RESET): State.PENDING,
    # what is halted may have been done by other means
    (State.HELD, Cause.STAMP): State.DONE,
    (State.PAUSED, Cause.STAMP): State.DONE,
    (State.CANCELLED, Cause.STAMP): State.DONE,
    # an operator sets another pace, for now or for later
    (State.PENDING, Cause.TUNE): State.PENDING,
    (State.RUNNING, Cause.TUNE): State.RUNNING,
    (State.STOPPED, Cause.TUNE): State.STOPPED,
    (State.FAILED, Cause.TUNE): State.FAILED,
    (State.HELD, Cause.TUNE): State.HELD,
    (State.PAUSED, Cause.TUNE): State.PAUSED,
    (State.REVERTING, Cause.TUNE): State.REVERTING,
    # an operator wants undone what it has done: who works on it leaves, and who undoes it holds its claim
    (State.PENDING, Cause.REVERT): State.REVERTING,
    (State.STOPPED, Cause.REVERT): State.REVERTING,
    (State.FAILED, Cause.REVERT): State.REVERTING,
    (State.DONE, Cause.REVERT): State.REVERTING,
    (State.PAUSED, Cause.REVERT): State.REVERTING,
    (State.CANCELLED, Cause.REVERT): State.REVERTING,
    (State.RUNNING, Cause.REVERT): State.REVERTING,
    # ... and goes on with it where it stood
    (State.REVERTING, Cause.REVERT): State.REVERTING,
    # who undoes it died or was cut off, and another claimed its range
    (State.REVERTING, Cause.TAKEN_OVER): State.REVERTING,
    # a signal, a budget or an error: no run may go forward from half-way back
    (State.REVERTING, Cause.STOP): State.REVERTING,
    (State.REVERTING, Cause.ERROR): State.REVERTING,
    # nothing is left to undo
    (State.REVERTING, Cause.VERIFIED): State.REVERTED,
    # an operator stops that too; what is undone stays so, and `revert` goes on with the rest
    (State.REVERTING, Cause.CANCEL): State.CANCELLED,
    # an operator wants it done again, from the first row
    (State.REVERTING, Cause.RETRY): State.PENDING,
    (State.REVERTING, Cause.RESET): State.PENDING,
    (State.REVERTED, Cause.RETRY): State.PENDING,
    (State.REVERTED, Cause.RESET): State.PENDING,
    (State.REVERTED, Cause.STAMP): State.DONE,
    # a downgrade takes nothing away that undoing needs
    (State.REVERTING, Cause.DOWNGRADE): State.REVERTING,
    (State.REVERTED, Cause.DOWNGRADE): State.REVERTED,
    # an operator throws away what undoing would need; not while that is under way
    **{(state, Cause.PRUNE): state for state in State if state is not State.REVERTING},
}

ONLY_IF_IT_RECURS = frozenset({(State.DONE, Cause.PAUSE), (State.DONE, Cause.CANCEL)})
"""Of one that is done once and for all nothing is left to be stopped."""

NOT_MEANWHILE = {
    (
        State.RUNNING,
        Cause.RETRY,
    ): "It has not failed. `datamigrate pause {name}` lets it rest, `datamigrate reset {name}` begins anew.",
    (State.RUNNING, Cause.STAMP): "`datamigrate pause {name}` first: it leaves after the batch, on any host.",
    (State.REVERTING, Cause.REVERT): "`datamigrate cancel {name}` stops that, if it has to.",
}
"""What makes no sense while somebody works on it, though it does once nobody is heard of, and what to do
instead."""

_INSTEAD = {
    (State.DONE, Cause.RETRY): "It is done. `datamigrate reset {name}` makes it run again.",
    (State.PENDING, Cause.RETRY): "It is pending already: `datamigrate run {name}`.",
    (State.PAUSED, Cause.RETRY): "`datamigrate resume {name}` lets it go on where it stood.",
    (State.HELD, Cause.RETRY): "It has never run: `datamigrate approve {name}` lets it.",
    (State.HELD, Cause.RESET): "It has never run: `datamigrate approve {name}` lets it.",
    (State.HELD, Cause.PAUSE): "No run begins it before `datamigrate approve {name}`.",
    (State.HELD, Cause.RESUME): "It waits for `datamigrate approve {name}`.",
    (State.CANCELLED, Cause.PAUSE): "No run touches it before `datamigrate retry {name}`.",
    (State.CANCELLED, Cause.RESUME): "`datamigrate retry {name}` puts it back in line, progress kept.",
    (State.CANCELLED, Cause.TUNE): "`datamigrate retry {name}` puts it back in line first.",
    (State.DONE, Cause.PAUSE): "Nothing of it is left to do. `datamigrate reset {name}` makes it run again.",
    (State.DONE, Cause.CANCEL): "Nothing of it is left to do. `datamigrate reset {name}` makes it run again.",
    (State.DONE, Cause.TUNE): "Nothing of it is left to do. `datamigrate reset {name}` makes it run again.",
    (State.PENDING, Cause.RESUME): "It is not paused: `datamigrate run {name}`.",
    (State.STOPPED, Cause.RESUME): "It is not paused: `datamigrate run {name}` goes on where it stopped.",
    (State.FAILED, Cause.RESUME): "It is not paused: mend what failed, then `datamigrate run {name}`.",
    (State.RUNNING, Cause.RESUME): "It is not paused; `datamigrate status {name}` shows how far it is.",
    (State.HELD, Cause.REVERT): "It has never run: `datamigrate show {name}`.",
    (State.REVERTED, Cause.REVERT): "It is undone already; `datamigrate retry {name}` lets it run again.",
    (
        State.REVERTING,
        Cause.PAUSE,
    ): "`datamigrate cancel {name}` stops it, `datamigrate revert {name}` goes on.",
    (State.REVERTING, Cause.RESUME): "`datamigrate revert {name}` goes on.",
    (State.REVERTED, Cause.RESUME): "`datamigrate retry {name}` lets it run again.",
    (State.PENDING, Cause.APPROVE): "It is not held: `datamigrate run {name}`.",
    (State.STOPPED, Cause.APPROVE): "It is not held: `datamigrate run {name}` goes on where it stopped.",
    (State.FAILED, Cause.APPROVE): "It is not held: mend what failed, then `datamigrate run {name}`.",
    (State.RUNNING, Cause.APPROVE): "It runs already; `datamigrate status {name}` shows how far it is.",
    (State.DONE, Cause.APPROVE): "It is done. `datamigrate reset {name}` makes it run again.",
    (State.PAUSED, Cause.APPROVE): "`datamigrate resume {name}` lets it go on where it stood.",
    (State.CANCELLED, Cause.APPROVE): "`datamigrate retry {name}` puts it back in line, progress kept.",
    (State.REVERTING, Cause.PRUNE): "`datamigrate revert {name}` still needs it.",
}


@dataclass(frozen=True)
class Standing:
    """A state, and by whom, when and why the migration was moved there, as far as the ledger knows; by which
    word, where that tells more than the state."""

    state: State
    by: str | None = None
    at: datetime | None = None
    reason: str | None = None
    word: Cause | None = None

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        at = f" on {self.at:%Y-%m-%d at %H:%M:%S}Z" if self.at else ""
        return f"{self.word or self.state}{by}{at}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Course:
    """The way on which workers take a migration: begun and resumed by `verb`, `working` until it is `ended`.
    In any of the `halts` they have to leave it alone."""

    verb: Cause
    working: State
    ended: State
    halts: frozenset[State]


FORTH = Course(Cause.RUN, State.RUNNING, State.DONE, HALTED)
BACK = Course(Cause.REVERT, State.REVERTING, State.REVERTED, frozenset(State) - UNDOING)


def way_on(name: str, state: State) -> str:
    """The command that ends a halt."""
    return f"datamigrate {WAY_ON[state]} {name}"


def what_then(name: str, state: State) -> str:
    """What a run that had to leave a migration in this state is told of how it goes on."""
    if state is State.PENDING:
        return f"`datamigrate {Cause.RUN} {name}` walks it again from the first row"
    if state is State.REVERTING:
        return f"`datamigrate status {name}` tells how far back it is"
    if state in UNDOING:
        return f"`{way_on(name, State.REVERTED)}` lets it run again"
    return f"`{way_on(name, state)}` lets it go on"


def advance(name: str, state: State, cause: Cause, recurs: bool = True) -> State:
    """The state after `cause`. Raises LifecycleError with the verb that fits better."""
    after = TRANSITIONS.get((state, cause))
    if after is None or ((state, cause) in ONLY_IF_IT_RECURS and not recurs):
        hint = _INSTEAD.get((state, cause), "See `datamigrate show {name}`.").format(name=name)
        raise LifecycleError(f"{name} is {state}; `{cause}` makes no sense there.", hint)
    return after
