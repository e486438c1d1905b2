"""A run in a process of its own, so that it can be killed, stopped, and started beside others."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy.exc import DBAPIError

from databases import ScratchDatabase
from datamigrate.doing import persisting
from datamigrate.doing.settings import Settings
from datamigrate.words.errors import DatamigrateError
from datamigrate.words.events import Retrying
from workbench import SMALL, Bench

SECONDS_TO_END = 60

PROCESSES = multiprocessing.get_context("forkserver")


@cache
def ready_to_fork() -> None:
    """Start a process with everything imported, which has no threads and forks quickly."""
    PROCESSES.set_forkserver_preload(["pytest", "campaign.runs"])
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        forkserver.ensure_running()


@dataclass(frozen=True)
class Order:
    """What a run is to do. It waits before it tries again only if it is `patient`. On SQLite it dies before
    the statement `dies_at` (0: it does not), and its file may have so many pages at most (0: any)."""

    database: ScratchDatabase
    folder: Path
    body: str
    settings: Settings = SMALL
    dies_at: int = 0
    pages: int = 0
    patient: bool = False


@dataclass(frozen=True)
class Told:
    """What a run that lived to its end told: its outcome, why, how many statements it made on SQLite, and
    how often it tried something again."""

    outcome: str
    why: str
    statements: int
    retries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Running:
    """A run that is going on."""

    process: Any
    telling: Connection

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self.process.pid)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.process.is_alive():
            os.kill(self.pid, number)

    def end(self) -> Told | None:
        """Wait for its end; what it told, or None when it was killed."""
        self.process.join(SECONDS_TO_END)
        assert self.process.exitcode is not None, "it never ends"
        if self.process.exitcode == -signal.SIGKILL:
            return None
        assert self.process.exitcode == 0, self.process.exitcode
        told = self.telling.recv()
        assert isinstance(told, Told)
        return told


@contextmanager
def started(order: Order) -> Iterator[Running]:
    """A run that goes on; whatever happens, its process is gone in the end."""
    ready_to_fork()
    hearing, telling = PROCESSES.Pipe(duplex=False)
    order = replace(order, database=replace(order.database))  # without the engines it may have used
    process = PROCESSES.Process(target=carry_out, args=(order, telling), daemon=True)
    process.start()
    telling.close()
    try:
        yield Running(process, hearing)
    finally:
        process.kill()
        process.join()
        process.close()
        hearing.close()


def run(order: Order) -> Told | None:
    """A whole run: what it told, or None when it was killed."""
    with started(order) as running:
        return running.end()


def carry_out(order: Order, telling: Connection) -> None:
    """Be the run; this is called in its process."""
    if not order.patient:
        persisting.LONGEST = 0.0
    with watched(order) as statements:
        bench = Bench(order.database, order.folder, order.settings)
        try:
            ran = asyncio.run(bench.run(bench.script(order.body)))
        except (DatamigrateError, DBAPIError) as error:  # before the claim: nothing has begun
            telling.send(Told("failed", str(error), len(statements)))
            return
        retries = tuple(event.reason for event in ran.of(Retrying))
    why = ran.result.error.message if ran.result.error else ran.result.reason
    telling.send(Told(ran.outcome, why, len(statements), retries))


@contextmanager
def watched(order: Order) -> Iterator[list[str]]:
    """The statements that are sent to SQLite meanwhile, each told before it is executed."""
    connect, statements = sqlite3.connect, list[str]()

    def count(statement: str) -> None:
        if statement.startswith("--"):  # within a trigger
            return
        statements.append(statement)
        if len(statements) == order.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect_watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        if order.pages:
            connection.execute(f"PRAGMA max_page_count = {order.pages}")
        connection.set_trace_callback(count)
        return connection

    with mock.patch.object(sqlite3, "connect", connect_watched):
        yield statements
