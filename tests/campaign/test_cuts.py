"""The wire is cut at every exchange of a run, before it arrives or before its answer does, and the run that
lived through it goes on by itself."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import pytest

from campaign.counting import STRIDE, Counter
from campaign.field import field_on
from campaign.proxy import Fault, wire_to
from campaign.runs import run, started
from databases import ScratchDatabase
from places import LONG, places
from workbench import BATCH, FORMS, with_settings

ROWS = BATCH + 2


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.LOST], ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("form", FORMS if LONG else ["compute"])
@pytest.mark.parametrize("workers", [1, 2] if LONG else [1])
def test_a_wire_cut_at_any_exchange_costs_a_retry_and_no_row(
    postgres_database: ScratchDatabase, tmp_path: Path, form: str, fault: Fault, workers: int, count: Counter
) -> None:
    field = field_on(postgres_database, tmp_path, ROWS if workers == 1 else 4 * BATCH)
    settings = with_settings(workers=workers)
    subject = form if workers == 1 else f"{form}, two workers"
    faults = count(f"connection {fault.value}", subject, "PostgreSQL")
    with wire_to(postgres_database, every=LONG) as (wire, over):
        field.put_back()
        assert run(field.order(form, over, settings)) is not None
        exchanges = len(wire.texts)
        for at in takewhile(lambda at: at <= exchanges, places(STRIDE)):
            field.put_back()
            wire.aim(at, fault)
            with started(field.order(form, over, settings)) as running:
                told = running.end()
            faults.tried += 1
            assert told is not None
            if told.outcome != "done":
                # what comes before the claim is not tried again: it says so, and nothing has happened
                assert told.outcome == "failed", told
                field.finish(form, settings)
            field.assert_whole(form)
            faults.survived += 1
