"""A wire to PostgreSQL that counts what is asked, and does something at the n-th question.

One exchange is all that a client sends up to a Flush, a Sync or a simple Query, and the answer, of the
latter two up to ReadyForQuery (the message formats are in PostgreSQL's documentation, "Frontend/Backend Protocol").
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

import sqlalchemy as sa

from databases import ScratchDatabase

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
ASKS = b"SQH"
FLUSH = b"H"
READY = b"Z"


class Fault(Enum):
    """What happens to an exchange."""

    CUT = "cut before it arrives"
    LOST = "answer lost after it was done"
    KILL = "client killed before it arrives"


@dataclass
class Wire:
    """The way to one server. What happens at the n-th exchange is set by `aim`; `texts` has what was asked.

    Without `every`, an exchange that only prepares a statement is not counted.
    """

    port: int
    every: bool = False
    at: int = 0
    fault: Fault = Fault.CUT
    texts: list[str] = field(default_factory=list)
    victim: Future[Callable[[], None]] = field(default_factory=Future)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def aim(self, at: int, fault: Fault = Fault.CUT) -> None:
        """Begin to count anew; 0 lets everything pass. Whom to kill is told to `victim`."""
        with self._lock:
            self.at, self.fault, self.texts, self.victim = at, fault, [], Future()

    def asked(self, text: str) -> Fault | None:
        """Count an exchange; what is to happen to it."""
        with self._lock:
            self.texts.append(text)
            return self.fault if len(self.texts) == self.at else None

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection, until either side or a fault ends it."""
        server, there = await asyncio.open_connection("127.0.0.1", self.port)
        swallowing = asyncio.Event()
        down = asyncio.create_task(self._down(server, back, swallowing))
        up = asyncio.create_task(self._up(client, there, swallowing, down))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for writer in (there, back):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _up(
        self,
        client: asyncio.StreamReader,
        there: asyncio.StreamWriter,
        swallowing: asyncio.Event,
        down: asyncio.Task[None],
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await _greet(client, there)
            exchange = b""
            while True:
                kind, message = await _message(client)
                exchange += message
                if kind not in ASKS:
                    if kind == b"X":
                        there.write(exchange)
                        await there.drain()
                        return
                    continue
                fault = self.asked(_text(exchange)) if self.every or kind != FLUSH else None
                if fault is Fault.KILL:
                    (await asyncio.wrap_future(self.victim))()
                if fault in (Fault.KILL, Fault.CUT):
                    return
                if fault is Fault.LOST:
                    swallowing.set()
                there.write(exchange)
                await there.drain()
                exchange = b""
                if fault is Fault.LOST:
                    if kind != FLUSH:  # which only prepares
                        await down
                    return

    async def _down(
        self, server: asyncio.StreamReader, back: asyncio.StreamWriter, swallowing: asyncio.Event
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            first = await server.readexactly(1)
            if first in b"NS":  # the answer to the question for encryption
                back.write(first)
                first = await server.readexactly(1)
            while True:
                length = await server.readexactly(4)
                body = await server.readexactly(struct.unpack("!I", length)[0] - 4)
                if swallowing.is_set():
                    if first == READY:
                        return
                else:
                    back.write(first + length + body)
                    await back.drain()
                first = await server.readexactly(1)


async def _greet(client: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
    while True:
        length = await client.readexactly(4)
        body = await client.readexactly(struct.unpack("!I", length)[0] - 4)
        there.write(length + body)
        await there.drain()
        if struct.unpack("!I", body[:4])[0] not in (SSL_REQUEST, GSS_REQUEST):
            return


async def _message(client: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await client.readexactly(1)
    length = await client.readexactly(4)
    return kind, kind + length + await client.readexactly(struct.unpack("!I", length)[0] - 4)


def _text(exchange: bytes) -> str:
    printable = (chr(c) if 32 <= c < 127 else " " for c in exchange[:400])
    return " ".join("".join(printable).split())


@contextmanager
def wire_to(database: ScratchDatabase, every: bool = False) -> Iterator[tuple[Wire, ScratchDatabase]]:
    """A wire to the database's server, and the database as it is reached over it."""
    url = sa.make_url(database.url)
    wire, loop, ready = Wire(url.port or 5432, every), asyncio.new_event_loop(), threading.Event()
    ports: list[int] = []
    done = asyncio.Event()

    async def carry() -> None:
        server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await done.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(carry(),))
    thread.start()
    try:
        ready.wait()
        over = url.set(host="127.0.0.1", port=ports[0]).render_as_string(hide_password=False)
        yield wire, ScratchDatabase(database.dialect, over, database.sync_url)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
