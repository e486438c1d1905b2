"""The other end of `elsewhere`: a process that calls a compute function for as long as somebody asks it to.

The author's code may do here what it may do in the process that asks: its subprocesses read and write nothing of ours,
and a signal to all is for that process to heed.
"""

import os
import pickle
import signal
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.loading import load_script
from datamigrate.authoring.row import rows_from
from datamigrate.doing.failing import Raised, raised_by
from datamigrate.doing.fitting import of_its_row
from datamigrate.words.errors import BatchFailed, DatamigrateError


@dataclass(frozen=True)
class Answers:
    """The results of the rows in order, up to the one for which the function has `raised`."""

    results: list[Any]
    raised: Raised | None = None


@dataclass(frozen=True)
class Unfit:
    """Instead of answers: something in what was asked, or in the answers, cannot be sent from a process to another."""


Reply = Answers | Unfit | DatamigrateError


def packed(what: Any) -> bytes | None:
    """What can be sent, or None when this cannot be."""
    try:
        return pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    except Exception:  # there is no end to what a type may raise
        return None


def unpacked(sent: bytes) -> Any:
    """What was sent, or Unfit when this end does not know what it is made of."""
    try:
        return pickle.loads(sent)
    except Exception:
        return Unfit()


def answer_all(handle: int) -> None:
    """Answer one request after the other that comes on this socket, until there is nobody at its other end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    os.register_at_fork(after_in_child=_heed_signals)
    os.set_inheritable(handle, False)
    line = Connection(handle)
    with suppress(EOFError, OSError):
        while True:
            reply = _reply(unpacked(line.recv_bytes()))
            line.send_bytes(packed(reply) or pickle.dumps(Unfit()))


def _heed_signals() -> None:
    # whoever the author's code has begun ends when it says so
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _reply(request: Any) -> Reply:
    if isinstance(request, Unfit):
        return request
    try:
        return _answers(*request)
    except DatamigrateError as error:
        return error


def _answers(file: str, checksum: str, values: list[tuple[Any, ...]]) -> Answers:
    form = _form(file, checksum)
    rows, results = rows_from(form, values), []
    try:
        if form.takes_batch:
            return Answers(form.function(rows))
        for row in rows:
            results.append(of_its_row(form.function(row)))  # its length tells the row that failed
    except BaseException as error:  # nobody but the function raises anything here
        return Answers(results, raised_by(error, Path(file)))
    return Answers(results)


@cache
def _form(file: str, checksum: str) -> ComputeRows:
    script = load_script(Path(file))
    if script.migration.checksum != checksum or not isinstance(script.form, ComputeRows):
        raise BatchFailed(f"{file} was edited while it was running.", "Run it again.")
    return script.form
