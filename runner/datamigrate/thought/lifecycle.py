"""The states of a data migration, and what may move it from one to another."""

from enum import StrEnum

from datamigrate.words.errors import LifecycleError


class State(StrEnum):
    """Where a data migration stands in the ledger."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    DONE = "done"


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
    # ... also when its runner died without a word (nobody holds a claim that is heard of)
    (State.RUNNING, Cause.RETRY): State.PENDING,
    # an operator wants it walked again from the first row
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
    # the schema was downgraded past a revision it requires: what it did went with the column
    (State.DONE, Cause.DOWNGRADE): State.PENDING,
    (State.RUNNING, Cause.DOWNGRADE): State.PENDING,
    (State.STOPPED, Cause.DOWNGRADE): State.PENDING,
    (State.FAILED, Cause.DOWNGRADE): State.PENDING,
}

_INSTEAD = {
    (State.DONE, Cause.RETRY): "It is done. `datamigrate reset {name}` makes it run again.",
    (State.PENDING, Cause.RETRY): "It is pending already: `datamigrate run {name}`.",
}


def advance(name: str, state: State, cause: Cause) -> State:
    """The state after `cause`. Raises LifecycleError with the verb that fits better."""
    try:
        return TRANSITIONS[state, cause]
    except KeyError:
        hint = _INSTEAD.get((state, cause), "See `datamigrate show {name}`.").format(name=name)
        raise LifecycleError(f"{name} is {state}; `{cause}` makes no sense there.", hint) from None
