"""Progress as lines for a log and as a bar, by a clock that the test turns."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from datamigrate.faces.progress import HEARTBEAT, Bar, Heartbeat, describe, tempo_line
from datamigrate.thought.progress import Progress
from datamigrate.words import events
from datamigrate.words.events import BatchDone, Event, Started


class Log:
    """A heartbeat with its lines and its clock."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.time = 100.0
        self.heartbeat = Heartbeat(self.lines.append, lambda: self.time)

    def after(self, seconds: float, event: Event) -> list[str]:
        """The lines that this event adds."""
        self.time += seconds
        before = len(self.lines)
        self.heartbeat(event)
        return self.lines[before:]


def started(rows: int = 0, estimate: int | None = 1000, name: str = "fill") -> Started:
    return Started(name, rows, estimate, "counted", resumed=rows > 0)


def batch(rows: int = 100, seconds: float = 2.0, name: str = "fill") -> BatchDone:
    return BatchDone(name, 1, rows, 0, seconds, rows, 500, "42")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (started(), "fill: starts, 1,000 rows pending (counted)"),
        (started(estimate=None), "fill: starts"),
        (started(rows=1200), "fill: resumes after 1,200 rows, 1,000 rows pending (counted)"),
        (events.Counted("fill", 500, 700, "counted"), "fill: 1,200 rows in all (counted)"),
        (events.Retrying("fill", "a deadlock (try again)"), "fill: a deadlock (try again)"),
        (events.Waiting("fill", "ann@web-1:7"), "fill: waiting for ann@web-1:7, who is running it"),
        (events.HeldBack("fill", "replica lag 12.0s"), "fill: waits: replica lag 12.0s"),
        (events.HeldBack("fill", "replica lag 9.0s", 20), "fill: has waited 20.0s: replica lag 9.0s"),
        (events.WentOn("fill", 65.0), "fill: goes on after 1m 5s"),
        (events.Sweeping("fill", 2, "7, 9"), "fill: rows are pending behind the walk (keys 7, 9); sweep 2"),
        (events.Finished("fill", 1200, 0, 65.0), "fill: done and verified, 1,200 rows in 1m 5s"),
        (
            events.Finished("fill", 1200, 3, 65.0),
            "fill: done and verified, 1,200 rows in 1m 5s, 3 left alone by the script",
        ),
        (
            events.Stopped("fill", 1200, "SIGTERM"),
            "fill: stopped cleanly after 1,200 rows (SIGTERM); run again to go on",
        ),
        (events.SchemaApplied("fill", ("a1", "b2")), "schema: applied a1, b2"),
        (batch(), None),
        (events.Verifying("fill"), None),
        (events.Failed("fill", "told elsewhere"), None),
    ],
)
def test_what_a_person_should_see_is_one_line(event: Event, line: str | None) -> None:
    assert describe(event) == line


@pytest.mark.parametrize(
    ("tempo", "line"),
    [
        (Progress(120_000, 200_000, 45_000.0), "120,000 of 200,000 rows (60%), 45,000 rows/s, 1.8s to go"),
        (Progress(120_000, None, 45_000.0), "120,000 rows, 45,000 rows/s"),
        (Progress(0, 10), "0 of 10 rows (0%)"),
        (Progress(0, 0), "0 rows"),
        (Progress(0), "0 rows"),
        (Progress(12, 10, 1.0), "12 of 12 rows (100%), 1 rows/s, 0.0s to go"),
    ],
)
def test_a_tempo_is_one_line(tempo: Progress, line: str) -> None:
    assert tempo_line(tempo) == line


def test_what_happens_is_written_at_once() -> None:
    log = Log()
    assert log.after(0, started()) == ["fill: starts, 1,000 rows pending (counted)"]
    assert log.after(0, events.Waiting("fill", "ann")) == ["fill: waiting for ann, who is running it"]


def test_batches_are_silent_until_the_heartbeat_is_due() -> None:
    log = Log()
    log.after(0, started())
    assert log.after(HEARTBEAT - 1, batch()) == []
    assert log.after(1, batch(rows=9 * 100)) == ["fill: 1,000 of 1,000 rows (100%), 108 rows/s, 0.0s to go"]


def test_how_far_it_is_follows_from_what_is_counted_on_the_way() -> None:
    log = Log()
    assert log.after(0, started(estimate=None)) == ["fill: starts"]
    log.after(2, batch())
    assert log.after(0, events.Counted("fill", 100, 400, "counted")) == ["fill: 500 rows in all (counted)"]
    assert log.after(HEARTBEAT, batch(rows=150))[0].startswith("fill: 250 of 500 rows (50%), ")


def test_the_rate_is_that_of_all_workers_with_their_rests_and_without_what_held_them_back() -> None:
    log = Log()
    log.after(0, started())
    log.after(2, batch(seconds=0.1))
    log.after(0, batch(seconds=0.1))
    log.after(0, events.HeldBack("fill", "the replica lags"))
    log.after(3600, events.WentOn("fill", 3600))
    log.after(2, batch(seconds=0.1))
    (line,) = log.after(HEARTBEAT, batch(rows=1000, seconds=0.1))
    assert line == "fill: 1,300 of 1,300 rows (100%), 97 rows/s, 0.0s to go"


def test_after_a_heartbeat_it_is_quiet_again() -> None:
    log = Log()
    log.after(0, started())
    assert log.after(HEARTBEAT, batch())
    assert log.after(HEARTBEAT / 2, batch()) == []
    assert log.after(HEARTBEAT / 2, batch())


def test_any_line_puts_the_heartbeat_off() -> None:
    log = Log()
    log.after(HEARTBEAT, started())
    assert log.after(HEARTBEAT - 1, batch()) == []


def test_without_batches_there_is_no_heartbeat() -> None:
    log = Log()
    assert log.after(10 * HEARTBEAT, events.Verifying("fill")) == []


def test_a_resumed_one_counts_on_from_where_it_was() -> None:
    log = Log()
    log.after(0, started(rows=500, estimate=500))
    (line,) = log.after(HEARTBEAT, batch(rows=100))
    assert line.startswith("fill: 600 of 1,000 rows (60%)")


def test_two_migrations_have_a_tempo_each() -> None:
    log = Log()
    log.after(0, started())
    log.after(0, started(name="other", estimate=50))
    log.after(0, batch())
    (line,) = log.after(HEARTBEAT, batch(rows=10, name="other"))
    assert line.startswith("other: 10 of 50 rows (20%)")


def test_a_bar_prints_what_happens_and_removes_itself() -> None:
    out = StringIO()
    with Bar(Console(file=out, force_terminal=False, width=200)) as bar:
        for event in (
            started(),
            batch(),
            events.Verifying("fill"),
            events.Finished("fill", 100, 0, 2.0),
            events.Failed("other", "x"),
        ):
            bar(event)
    assert "fill: starts, 1,000 rows pending (counted)" in out.getvalue()
    assert "fill: done and verified, 100 rows in 2.0s" in out.getvalue()


def test_a_bar_takes_brackets_for_brackets() -> None:
    out = StringIO()
    with Bar(Console(file=out, force_terminal=False, width=200)) as bar:
        bar(events.Retrying("fill", "array [red] is locked"))
    assert "array [red] is locked" in out.getvalue()
