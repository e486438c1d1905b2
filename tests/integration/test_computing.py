"""What a compute function returns, and what is written of it."""

from __future__ import annotations

import pytest

from workbench import BATCH, HOME, Bench, with_settings

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
