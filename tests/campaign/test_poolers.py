"""PgBouncer in transaction mode between the runs and the server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign.counting import Counter
from campaign.field import field_on
from campaign.runs import started
from databases import ScratchDatabase, _identity, _unprivileged_user, free_port
from places import LONG
from workbench import BATCH, FORMS, with_settings

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

INI = """
[databases]
* = host=127.0.0.1 port={server} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
server_idle_timeout = 1
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pooled(database: ScratchDatabase, folder: Path) -> Iterator[ScratchDatabase]:
    """The database behind a pooler of its own."""
    url, port = sa.make_url(database.url), free_port()
    ini = folder / "pgbouncer.ini"
    ini.write_text(INI.format(server=url.port, port=port).replace("*", f"{url.database}", 1))
    for path in (*folder.parents[:3], folder):
        path.chmod(0o755)
    with subprocess.Popen(
        [str(PGBOUNCER), "-q", str(ini)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **_identity(_unprivileged_user()),
    ) as process:
        try:
            answers_at(port, process)
            over = url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
            yield ScratchDatabase(database.dialect, over, database.sync_url)
        finally:
            process.terminate()


def answers_at(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 20
    while True:
        assert process.poll() is None, "pgbouncer has ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < give_up, "pgbouncer does not answer"
            time.sleep(0.05)
        else:
            return


@pytest.mark.skipif(PGBOUNCER is None, reason="there is no pgbouncer (Debian: apt-get install pgbouncer)")
@pytest.mark.parametrize("form", FORMS if LONG else ["update", "compute"])
def test_behind_a_pooler_in_transaction_mode_two_runs_do_each_row_once(
    postgres_database: ScratchDatabase, tmp_path: Path, form: str, count: Counter
) -> None:
    field = field_on(postgres_database, tmp_path, 10 * BATCH)
    field.put_back()
    runs = count("behind PgBouncer, two runs of two workers", form, "postgresql")
    runs.tried = 2
    with pooled(postgres_database, tmp_path) as over, ExitStack() as stack:
        order = field.order(form, over, with_settings(workers=2))
        folders = [tmp_path / "one", tmp_path / "other"]
        for folder in folders:
            folder.mkdir()
        both = [stack.enter_context(started(replace(order, folder=folder))) for folder in folders]
        told = [one.end() for one in both]
    assert [one.outcome if one else None for one in told] == ["done", "done"], told
    field.assert_whole(form)
    runs.survived = 2
