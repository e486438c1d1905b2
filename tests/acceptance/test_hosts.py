"""Runs on hosts of their own: network namespaces with a wire each to the database, which can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from databases import ScratchDatabase
from projects import Project, add_people, count_writes, ended, named_people, writes

PEOPLE = 400
SECONDS_TO_HAPPEN = 90
EXPIRY = "3s"

# batches of ten rows, each of which takes a while
UNHURRIED = """
import asyncio


@each_batch(people, pending=people.c.full_name.is_(None), batch_size=10)
async def migrate(batch):
    full_name = people.c.first + " " + people.c.last
    await batch.execute(sa.update(people).where(batch.rows).values(full_name=full_name))
    await asyncio.sleep(0.2)
"""


def no_namespaces() -> str | None:
    """Why there cannot be hosts here, or None."""
    if not shutil.which("ip"):
        return "there is no `ip` command (Debian: apt-get install iproute2)"
    probe = f"dmprobe{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
        return "network namespaces need root"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None


WHY_NOT = no_namespaces()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


@dataclass(frozen=True)
class Host:
    """A network namespace; the database is at `address` behind its only wire."""

    name: str
    address: str

    @property
    def inside(self) -> list[str]:
        """What to put before a command so that it runs there, under the host's own name."""
        named = f'hostname {self.name}; exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", named, "sh"]

    def plug(self, state: str) -> None:
        """Put the wire `up` or `down`."""
        subprocess.run([*self.inside, "ip", "link", "set", "wire", state], check=True)


@contextmanager
def host(number: int, port: int) -> Iterator[Host]:
    """A host, and a forwarder at our end of its wire to the server on this port."""
    name, here = f"dm{os.getpid()}h{number}", f"dm{os.getpid() % 100000}w{number}"
    net = f"10.{200 + number}.{os.getpid() % 250}"
    ip: Callable[..., object] = lambda *words: subprocess.run(["ip", *words], check=True)  # noqa: E731
    ip("netns", "add", name)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", "wire", "netns", name)
        ip("addr", "add", f"{net}.1/24", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "addr", "add", f"{net}.2/24", "dev", "wire")
        ip("-n", name, "link", "set", "wire", "up")
        with forwarder(f"{net}.1", port):
            yield Host(name, f"{net}.1")
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", here], check=False, capture_output=True)


FORWARDER = """
import asyncio, sys

async def carry(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()

async def serve(reader, writer):
    there, back = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(carry(reader, back), carry(there, writer))

async def main():
    server = await asyncio.start_server(serve, address, port)
    print("ready", flush=True)
    await server.serve_forever()

address, port = sys.argv[1], int(sys.argv[2])
asyncio.run(main())
"""


@contextmanager
def forwarder(address: str, port: int) -> Iterator[None]:
    """Carry what comes to this address on to the same port of ours."""
    command = [sys.executable, "-c", FORWARDER, address, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def wait_for(happened: Callable[[], object]) -> None:
    give_up = time.monotonic() + SECONDS_TO_HAPPEN
    while not happened():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.05)


def prepare(project: Project, database: ScratchDatabase) -> None:
    pyproject = project.root / "pyproject.toml"
    quick_to_notice = f'claim_expiry = "{EXPIRY}"\nidle_timeout = "{EXPIRY}"\n'
    pyproject.write_text(
        pyproject.read_text().replace("[tool.datamigrate]\n", f"[tool.datamigrate]\n{quick_to_notice}")
    )
    add_people(database, PEOPLE)
    count_writes(database)
    project.write_script("full_name", UNHURRIED)


def start_on(project: Project, there: Host, url: sa.URL) -> subprocess.Popen[str]:
    address = url.set(host=there.address).render_as_string(hide_password=False)
    return project.start("run", before=there.inside, DATABASE_URL=address)


def owners(database: ScratchDatabase) -> set[str]:
    rows = database.rows("SELECT owner FROM datamigrate_range WHERE owner IS NOT NULL")
    return {owner.split("|")[1] for (owner,) in rows}


def test_of_two_hosts_one_is_cut_off_and_healed_and_every_row_is_written_once(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    database, url = postgres_database, sa.make_url(postgres_database.url)
    prepare(postgres_project, database)
    with ExitStack() as stack:
        near, far = (stack.enter_context(host(number, url.port or 5432)) for number in (1, 2))
        one = stack.enter_context(ended(start_on(postgres_project, near, url)))
        wait_for(lambda: named_people(database))
        other = stack.enter_context(ended(start_on(postgres_project, far, url)))
        wait_for(lambda: owners(database) == {near.name, far.name})
        far.plug("down")
        _, told = one.communicate(timeout=SECONDS_TO_HAPPEN)
        assert one.returncode == 0, told
        assert database.scalar("SELECT state FROM datamigrate_migration") == "done"
        far.plug("up")
        _, told = other.communicate(timeout=SECONDS_TO_HAPPEN)
        assert other.returncode == 0, told
    assert named_people(database) == PEOPLE
    assert writes(database) == [(1, PEOPLE)]
    taken = database.rows("SELECT reason FROM datamigrate_transition WHERE cause = 'taken over'")
    assert any(f"@{far.name}:" in str(reason) for (reason,) in taken)
    assert database.scalar("SELECT rows FROM datamigrate_range") == PEOPLE
