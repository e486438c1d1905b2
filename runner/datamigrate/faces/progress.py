"""Progress for people: a bar on a terminal, a line every ten seconds elsewhere. Both only listen."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from datamigrate.thought.progress import Progress as Tempo
from datamigrate.thought.progress import after_batch
from datamigrate.words import events
from datamigrate.words.duration import human_duration
from datamigrate.words.rows import human_rows, rows_in

HEARTBEAT = 10.0

_ENDINGS = (
    events.Alone,
    events.Finished,
    events.Reverted,
    events.FoundDone,
    events.Stopped,
    events.Failed,
    events.SchemaApplied,
)


def describe(event: events.Event) -> str | None:
    """One line for an event that a person should see whatever happens; None for the rest."""
    match event:
        case events.Started(
            migration=name, rows=rows, estimate=estimate, estimate_source=source, resumed=resumed
        ):
            begun = f"resumes after {human_rows(rows)}" if resumed else "starts"
            expected = "" if estimate is None else f", {human_rows(estimate)} pending ({source})"
            return f"{name}: {begun}{expected}"
        case events.Counted(migration=name, rows=rows, estimate=estimate, estimate_source=source):
            return f"{name}: {human_rows(rows + estimate)} in all ({source})"
        case events.Retrying(migration=name, reason=reason):
            return f"{name}: {reason}"
        case events.Waiting(migration=name, holder=holder):
            return f"{name}: waiting for {holder}, who is running it"
        case events.HeldBack(migration=name, reason=reason, seconds=seconds):
            return f"{name}: {f'has waited {human_duration(seconds)}' if seconds else 'waits'}: {reason}"
        case events.WentOn(migration=name, seconds=seconds):
            return f"{name}: goes on after {human_duration(seconds)}"
        case events.Stalled(migration=name, seconds=seconds):
            return f"{name}: no batch was done for {human_duration(seconds)}"
        case events.Undelivered(migration=name, sink=sink, reason=reason):
            return f"{name}: the {sink} did not take the notice: {reason}"
        case events.Alone(workers=workers, reason=reason):
            return f"{reason}: one worker does it, not {workers}"
        case events.Retuned(migration=name, tuning=tuning):
            return f"{name}: tuned to {tuning}" if tuning else f"{name}: tuned no more"
        case events.MadeRoom(migration=name, reason=reason) if reason:
            return f"{name}: makes room for others ({reason}): small batches, and rest; --nice 0 does not"
        case events.MadeRoom(migration=name):
            return f"{name}: goes on at full speed, others are at work no more"
        case events.FoundDone(migration=name):
            return f"{name}: another run has done it"
        case events.Sweeping(migration=name, sweep=sweep, sample=sample):
            return f"{name}: rows are pending behind the walk (keys {sample}); sweep {sweep}"
        case events.Quarantined(migration=name, key=key, error=error, total=total):
            return f"{name}: row {key} is quarantined, the {_th(total)}: {error}"
        case events.Released(migration=name, rows=rows, sample=sample):
            return f"{name}: {human_rows(rows)} out of quarantine, no longer pending (keys {sample})"
        case events.Finished(
            migration=name,
            rows=rows,
            left_alone=left_alone,
            seconds=seconds,
            quarantined=aside,
            before=before,
        ):
            alone = f", {left_alone:,} left alone by the script" if left_alone else ""
            done = f"done with {aside:,} quarantined" if aside else "done and verified"
            way_on = f"; `datamigrate quarantine list {name}`" if aside else ""
            return f"{name}: {done}, {rows_in(rows, seconds, before)}{alone}{way_on}"
        case events.Reverted(migration=name, rows=rows, changed=changed, seconds=seconds, before=before):
            since = f"; {changed:,} were changed since, and stay as they are" if changed else ""
            return f"{name}: reverted, {rows_in(rows, seconds, before)}{since}"
        case events.Stopped(migration=name, rows=rows, reason=reason, then=then):
            return f"{name}: stopped cleanly after {human_rows(rows)} ({reason}); {then}"
        case events.SchemaApplied(revisions=revisions):
            return f"schema: applied {', '.join(revisions)}"
        case _:
            return None


def _th(number: int) -> str:
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{last}"


def tempo_line(tempo: Tempo) -> str:
    """`120,000 of 200,000 rows (60%), 45,000 rows/s, 1.8s to go`."""
    parts = [human_rows(tempo.done)]
    if tempo.total is not None and tempo.share is not None:
        parts = [f"{tempo.done:,} of {tempo.total:,} rows ({tempo.share:.0%})"]
    if tempo.rate:
        parts.append(f"{tempo.rate:,.0f} rows/s")
    if tempo.eta is not None:
        parts.append(f"{human_duration(tempo.eta)} to go")
    return ", ".join(parts)


@dataclass
class Tempos:
    """Keeps each migration's progress from the events: from the end of one batch to the end of the next, whoever
    did them, and without the time that it was held back."""

    clock: Callable[[], float] = time.monotonic
    tempos: dict[str, Tempo] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)

    def note(self, event: events.Event) -> Tempo:
        """The migration's progress after this event."""
        name, now = event.migration, self.clock()
        tempo = self.tempos.get(name, Tempo(0))
        if isinstance(event, events.Started):
            tempo = Tempo(event.rows, None if event.estimate is None else event.rows + event.estimate)
        if isinstance(event, events.Counted):
            tempo = replace(tempo, estimate=event.rows + event.estimate)
        if isinstance(event, events.BatchDone):
            tempo = after_batch(tempo, event.rows, now - self.since.get(name, now))
        if isinstance(event, events.Started | events.BatchDone | events.WentOn):
            self.since[name] = now
        self.tempos[name] = tempo
        return tempo


class Heartbeat:
    """Lines for a log: what happens at once, and the progress every ten seconds."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._tempos = Tempos(clock)
        self._last = clock()

    def __call__(self, event: events.Event) -> None:
        tempo = self._tempos.note(event)
        if line := describe(event):
            self._write(line)
        elif isinstance(event, events.BatchDone) and self._clock() - self._last >= HEARTBEAT:
            self._write(f"{event.migration}: {tempo_line(tempo)}")
        else:
            return
        self._last = self._clock()


class Bar:
    """A bar per migration. Use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tempos = Tempos()
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[tempo]}"),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: events.Event) -> None:
        tempo = self._tempos.note(event)
        if line := describe(event):
            self._console.print(line, markup=False, highlight=False)
        if isinstance(event, _ENDINGS):
            if event.migration in self._tasks:
                self._progress.remove_task(self._tasks.pop(event.migration))
            return
        task = self._tasks.get(event.migration)
        if task is None:
            task = self._tasks[event.migration] = self._progress.add_task(event.migration, tempo="")
        self._progress.update(task, total=tempo.total, completed=tempo.done, tempo=tempo_line(tempo))
