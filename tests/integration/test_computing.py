"""What a compute function returns, and what is written of it."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from anyio import CapacityLimiter

from datamigrate.doing.elsewhere import Elsewhere, ask_elsewhere
from datamigrate.words.errors import BatchFailed, RowFailed
from workbench import BATCH, HOME, Bench, Ran, with_settings

pytestmark = pytest.mark.anyio

ROWS = 20 * BATCH
ONE_RESULT = """
import time

result = {{}}

@compute_rows(item, pending=pending, reads=[item.c.old], writes=[item.c.new])
{kind}def migrate(row):
    time.sleep(0.0002)
    result["new"] = row.old * 2
    return result
"""


@pytest.mark.parametrize("kind", ["", "async "], ids=["in turn", "concurrently"])
async def test_a_function_may_fill_one_result_again_for_each_row(bench: Bench, kind: str) -> None:
    bench.table(rows=((i,) for i in range(ROWS)))
    ran = await bench.run(bench.script(HOME + ONE_RESULT.format(kind=kind)))
    assert ran.outcome == "done", ran.result
    assert bench.wrong() == []
    bench.assert_done(ROWS)


async def test_it_may_so_in_a_process_of_its_own(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table(rows=((i,) for i in range(ROWS)))
    ran = await bench.run(bench.script(HOME + ONE_RESULT.format(kind="")), settings=with_settings(workers=2))
    assert ran.outcome == "done", ran.result
    assert bench.wrong() == []
    bench.assert_done(ROWS)


CHANGES_WHAT_IT_READS = """
item.append_column(sa.column("held", sa.JSON))
raised = []

@compute_rows(item, pending=pending, reads=[item.c.held, item.c.serial], writes=[item.c.new])
{kind}def migrate(row):
    row.held["number"] *= 2
    if row.serial == {serial} and not raised:
        raised.append(row.serial)
        raise {error}
    return {{"new": row.held["number"]}}
"""


@pytest.mark.parametrize("error", ["OSError", "StopIteration"])
@pytest.mark.parametrize("kind", ["", "async "], ids=["in turn", "concurrently"])
async def test_what_a_function_has_changed_before_it_raised_is_read_anew(
    bench: Bench, kind: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.doing.compute_work.QUICK", 1.0)
    bench.table(rows=((i,) for i in range(ROWS)))
    held = (
        "json_object('number', old)"
        if bench.database.dialect == "sqlite"
        else "json_build_object('number', old)"
    )
    bench.database.script(
        f"ALTER TABLE item ADD COLUMN held JSON; UPDATE item SET held = {held}; DELETE FROM written"
    )
    text = HOME + CHANGES_WHAT_IT_READS.format(kind=kind, serial=ROWS // 2, error=error)
    ran = await bench.run(bench.script(text))
    assert ran.outcome == "done", ran.result
    assert bench.wrong() == []


READS_NOTHING = """
@compute_rows(item, pending=pending, reads=[], writes=[item.c.new])
def migrate(row):
    return {answer}
"""


@pytest.mark.parametrize("answer", ['{"new": 7}', "None"])
async def test_a_function_may_read_nothing(
    bench: Bench, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.doing.compute_work.QUICK", 1.0)
    bench.table(rows=((i,) for i in range(ROWS)))
    ran = await bench.run(bench.script(HOME + READS_NOTHING.format(answer=answer)))
    assert ran.outcome == "done", ran.result
    assert bench.database.rows("SELECT DISTINCT new FROM item") == [(None if answer == "None" else 7,)]
    assert bench.standing().left_alone == (ROWS if answer == "None" else 0)


# in processes of its own ----------------------------------------------------------------------------------

TWO = with_settings(workers=2)
SLOW = """
import os
import signal
import subprocess
import time
from pathlib import Path

class Own(int):
    pass

@compute_rows(item, pending=pending, reads=[item.c.old, item.c.serial], writes=[item.c.new]{options})
def migrate(row):
    time.sleep(0.0005)
    if row.serial >= {rows} // 2:
        {body}
    return {{"new": row.old * 2}}
"""


async def run_with(bench: Bench, body: str, options: str = "") -> Ran:
    bench.table(rows=((i,) for i in range(ROWS)))
    script = bench.script(HOME + SLOW.format(body=body, rows=ROWS, options=options))
    with anyio.fail_after(60):
        return await bench.run(script, settings=TWO)


@pytest.mark.parametrize(
    "body",
    [
        'subprocess.run(["cat"], check=True)',
        'subprocess.run(["echo", "RETURN 1"], check=True)',
        'os.write(1, b"RETURN 1")',
        'assert os.read(0, 1) == b""',
        "os.kill(os.getpid(), signal.SIGINT)",
    ],
)
async def test_a_function_in_a_process_of_its_own_has_the_standard_streams_and_signals_to_itself(
    postgres_bench: Bench, body: str
) -> None:
    body = f"os.getppid() == {os.getpid()} and {body}" if "assert" not in body else body
    ran = await run_with(postgres_bench, body)
    assert ran.outcome == "done", ran.result
    postgres_bench.assert_done(ROWS)


async def test_what_cannot_be_sent_from_another_process_is_computed_in_this_one(
    postgres_bench: Bench,
) -> None:
    ran = await run_with(postgres_bench, 'return {"new": Own(row.old * 2)}', ', on_row_error="quarantine"')
    assert ran.outcome == "done", ran.result
    assert ran.result.quarantined == 0
    assert postgres_bench.wrong() == []
    postgres_bench.assert_done(ROWS)


async def test_what_cannot_be_sent_to_another_process_is_computed_in_this_one_from_then_on(
    tmp_path: Path,
) -> None:
    there = Elsewhere(tmp_path / "job.py", "", CapacityLimiter(1))
    assert await ask_elsewhere(there, [(memoryview(b""),)]) is None
    assert there.unfit
    assert await ask_elsewhere(there, [(1,)]) is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("os._exit(3)", "has ended in the middle of it, with exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os.fork() and os._exit(3) or time.sleep(5)", "has ended in the middle of it, with exit code 3"),
    ],
)
async def test_a_process_that_dies_in_the_function_is_told_of_and_is_no_rows_fault(
    postgres_bench: Bench, body: str, told: str
) -> None:
    bench = postgres_bench
    body = f"os.getppid() == {os.getpid()} and ({body})"
    ran = await run_with(bench, body, ', on_row_error="quarantine"')
    assert ran.outcome == "failed"
    assert f"job: The process that called migrate() {told}" in str(ran.result.error)
    assert "Rows: key" in str(ran.result.error)
    assert isinstance(ran.result.error, BatchFailed)
    assert not isinstance(ran.result.error, RowFailed)
    assert bench.database.rows("SELECT key FROM datamigrate_quarantine") == []


async def test_a_process_that_is_cancelled_in_the_function_is_killed(
    postgres_bench: Bench, tmp_path: Path
) -> None:
    bench, note = postgres_bench, tmp_path / "pid"
    bench.table(rows=((i,) for i in range(ROWS)))
    stuck = f'Path("{note}").write_text(str(os.getpid())); time.sleep(600)'
    script = bench.script(HOME + SLOW.format(body=stuck, rows=ROWS, options=""))
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: bench.run(script, settings=TWO))
        with anyio.fail_after(60):
            while not note.exists() or not note.read_text():  # noqa: ASYNC110 # it is another process that tells
                await anyio.sleep(0.02)
        group.cancel_scope.cancel()
    assert int(note.read_text()) != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
