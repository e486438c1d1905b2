"""Calling a compute function in another process, so that several cores compute."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Pipe
from pathlib import Path
from threading import Lock
from typing import Any

import anyio
from anyio import CapacityLimiter

from datamigrate.doing.answering import Answers, Reply, Unfit, packed, unpacked
from datamigrate.doing.aside import aside
from datamigrate.words.errors import BatchFailed, DatamigrateError

LOOK_ROUND = 1.0
"""Seconds between two looks whether a process that has not answered is still there: its end of the line may be kept open
by another that it has begun."""


@dataclass(eq=False)
class Elsewhere:
    """As many processes as the limiter allows, for the script in this file with this checksum; of no use any more when
    what is asked or answered proves to be `unfit` to be sent."""

    file: Path
    checksum: str
    limiter: CapacityLimiter
    unfit: bool = field(default=False, init=False)


async def ask_elsewhere(there: Elsewhere, values: list[tuple[Any, ...]]) -> Answers | None:
    """What the script's function makes of rows with these values; None where it has to be called here.

    A process is kept for the next batch, and killed when this is cancelled. Raises BatchFailed when the file
    was edited meanwhile, and when the process dies.
    """
    request = None if there.unfit else packed((str(there.file), there.checksum, values))
    reply = Unfit() if request is None else await _asked(request, there.limiter)
    if isinstance(reply, DatamigrateError):
        raise reply
    if isinstance(reply, Unfit):
        there.unfit = True
        return None
    return reply


@contextmanager
def sent_home() -> Iterator[None]:
    """Around a run, after which no process waits for the next batch."""
    try:
        yield
    finally:
        while _idle:
            _idle.pop().end()


async def _asked(request: bytes, limiter: CapacityLimiter) -> Reply:
    async with limiter:
        other = _one_that_waits() or _OtherProcess()
        try:
            reply: Reply = await aside(partial(other.ask, request))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await aside(other.end)
            raise
        _idle.append(other)
        return reply


def _one_that_waits() -> "_OtherProcess | None":
    while _idle:
        other = _idle.pop()
        if other.is_there:
            return other
        other.end()
    return None


class _OtherProcess:
    """One that answers, and our end of the line to it."""

    def __init__(self) -> None:
        self._line, theirs = Pipe()
        self._in_use = Lock()
        with theirs:
            answer = f"from datamigrate.doing.answering import answer_all; answer_all({theirs.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {answer}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # what is typed at the terminal is for us
            )

    @property
    def is_there(self) -> bool:
        """Whether nothing has ended it."""
        return self._process.poll() is None

    def ask(self, request: bytes) -> Any:
        """The answer to this. Raises BatchFailed when there will be none."""
        with self._in_use:
            try:
                self._line.send_bytes(request)
                while not self._line.poll(LOOK_ROUND):
                    if not self.is_there and not self._line.poll():
                        raise EOFError
                return unpacked(self._line.recv_bytes())
            except (EOFError, OSError) as error:
                raise _died(self._code()) from error

    def _code(self) -> int:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(LOOK_ROUND)
        self._process.kill()
        return self._process.wait()

    def end(self) -> None:
        """Kill it, whatever it does."""
        self._process.kill()
        with self._in_use, suppress(OSError):
            self._process.wait()
            self._line.close()


_idle: list[_OtherProcess] = []


def _died(code: int) -> BatchFailed:
    if code >= 0:
        return BatchFailed(
            f"The process that called migrate() has ended in the middle of it, with exit code {code}.",
            "Look for os._exit() in the script and in what it calls.",
        )
    return BatchFailed(
        f"The process that called migrate() was killed by {_name(-code)}.",
        "Look at the system's log for what killed it: out of memory, or a crash in a library? Fewer `--workers` need "
        "less memory.",
    )


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals has no name
        return f"signal {number}"
