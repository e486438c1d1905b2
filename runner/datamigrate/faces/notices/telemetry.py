"""Events as OpenTelemetry spans and metrics, where its API is installed and the process has set up an SDK."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import datamigrate
from datamigrate.words import events
from datamigrate.words.secrets import redacted, redacted_values

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.trace import Span, Tracer

_TOLD_IN_THE_SPAN = (
    events.HeldBack,
    events.WentOn,
    events.Retrying,
    events.Retuned,
    events.MadeRoom,
    events.Sweeping,
    events.Verifying,
    events.Stalled,
)


@contextmanager
def traced(system: str, publish: events.Publish) -> Iterator[events.Publish]:
    """A span for the run; what is published meanwhile is counted, and has a span for each migration."""
    if find_spec("opentelemetry") is None:
        yield publish
        return
    from opentelemetry import metrics, trace

    about = {"db.system.name": system}
    tracer = trace.get_tracer("datamigrate", datamigrate.__version__)
    meter = metrics.get_meter("datamigrate", datamigrate.__version__)
    with tracer.start_as_current_span("datamigrate run", attributes=about):
        telemetry = Telemetry(tracer, meter, about)
        try:
            yield events.publish_to(publish, telemetry)
        finally:
            telemetry.end()


@dataclass(eq=False)
class Telemetry:
    """A subscriber that counts, and keeps a span open for each migration under way."""

    tracer: "Tracer"
    meter: "Meter"
    about: dict[str, str]
    spans: dict[str, "Span"] = field(default_factory=dict)

    @cached_property
    def _rows(self) -> Any:
        return self.meter.create_counter("datamigrate.rows", "{row}", "Rows changed")

    @cached_property
    def _duration(self) -> Any:
        return self.meter.create_histogram("datamigrate.batch.duration", "s", "Time of a batch")

    @cached_property
    def _retries(self) -> Any:
        return self.meter.create_counter("datamigrate.retries", "{retry}", "Batches that are tried again")

    @cached_property
    def _waits(self) -> Any:
        return self.meter.create_counter("datamigrate.wait.duration", "s", "Time of being held back")

    def __call__(self, event: events.Event) -> None:
        """Count it, and tell it in the migration's span."""
        about = {**self.about, "datamigrate.migration": event.migration}
        match event:
            case events.Started(migration=name):
                self.spans[name] = self.tracer.start_span(f"datamigrate migration {name}", attributes=about)
            case events.BatchDone(rows=rows, seconds=seconds):
                self._rows.add(rows, about)
                self._duration.record(seconds, about)
            case events.Retrying():
                self._retries.add(1, about)
            case events.WentOn(seconds=seconds):
                self._waits.add(seconds, about)
            case (
                events.Finished(migration=name)
                | events.Stopped(migration=name)
                | events.FoundDone(migration=name)
            ):
                self._end(name, {"datamigrate.outcome": type(event).__name__.lower()})
            case events.Failed(migration=name, reason=reason):
                self._end(name, {"datamigrate.outcome": "failed"}, reason)
        if isinstance(event, _TOLD_IN_THE_SPAN) and (span := self.spans.get(event.migration)):
            span.add_event(type(event).__name__, _plain(event))

    def _end(self, name: str, about: dict[str, str], error: str | None = None) -> None:
        from opentelemetry.trace import Status, StatusCode

        if span := self.spans.pop(name, None):
            span.set_attributes(about)
            if error is not None:
                span.set_status(Status(StatusCode.ERROR, redacted(error)))
            span.end()

    def end(self) -> None:
        """End the spans of migrations that were broken off."""
        for name in list(self.spans):
            self._end(name, {"datamigrate.outcome": "interrupted"})


def _plain(event: events.Event) -> dict[str, str | int | float | bool]:
    facts = {
        name: value
        for name, value in redacted_values(event.facts()).items()
        if name not in ("event", "migration")
    }
    return {
        name: value if isinstance(value, str | int | float | bool) else str(value)
        for name, value in facts.items()
    }
