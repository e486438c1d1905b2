"""Events as metrics that Prometheus fetches."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from datamigrate.words import events
from datamigrate.words.errors import UsageError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@contextmanager
def serving_metrics(port: int) -> Iterator[events.Publish]:
    """Answer on this port of all addresses at /metrics; what to publish to. Raises UsageError."""
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise UsageError(
            "--metrics-port needs the package prometheus-client.",
            "pip install 'datamigrate[prometheus]'",
        ) from None
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    try:
        server, thread = start_http_server(port, registry=registry)
    except OSError as error:
        raise UsageError(f"Port {port} cannot be served: {error.strerror}.", "Choose another.") from None
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Metrics:
    """A subscriber that keeps counts and gauges, each by migration, in a registry of prometheus_client."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge, Histogram

        by = ("migration",)
        self._rows = Counter("datamigrate_rows", "Rows changed.", by, registry=registry)
        self._batch = Histogram("datamigrate_batch_seconds", "Time of a batch.", by, registry=registry)
        self._pending = Gauge(
            "datamigrate_pending_rows", "Rows to do, as far as is known.", by, registry=registry
        )
        self._expected: set[str] = set()
        self._running = Gauge("datamigrate_running", "1 while it is being worked on.", by, registry=registry)
        self._waiting = Gauge("datamigrate_waiting", "1 while it is held back.", by, registry=registry)
        self._latest = Gauge(
            "datamigrate_last_batch_timestamp_seconds", "When the last batch was done.", by, registry=registry
        )
        self._retries = Counter("datamigrate_retries", "Batches tried again.", by, registry=registry)
        self._ended = Counter(
            "datamigrate_ended", "Runs of it that ended.", (*by, "outcome"), registry=registry
        )

    def __call__(self, event: events.Event) -> None:
        """Count it."""
        name = event.migration
        match event:
            case events.Started(estimate=estimate):
                self._running.labels(name).set(1)
                self._waiting.labels(name).set(0)
                self._expect(name, estimate)
            case events.Counted(estimate=estimate):
                self._expect(name, estimate)
            case events.BatchDone(rows=rows, seconds=seconds):
                self._rows.labels(name).inc(rows)
                self._batch.labels(name).observe(seconds)
                if name in self._expected:
                    self._pending.labels(name).dec(rows)
                self._latest.labels(name).set(time.time())
            case events.HeldBack():
                self._waiting.labels(name).set(1)
            case events.WentOn():
                self._waiting.labels(name).set(0)
            case events.Retrying():
                self._retries.labels(name).inc()
            case events.Finished() | events.FoundDone() | events.Stopped() | events.Failed():
                self._running.labels(name).set(0)
                self._waiting.labels(name).set(0)
                self._ended.labels(name, type(event).__name__.lower()).inc()
                if isinstance(event, events.Finished):
                    self._pending.labels(name).set(0)

    def _expect(self, name: str, rows: int | None) -> None:
        # what nobody knows yet is not counted down
        if rows is None:
            self._expected.discard(name)
        else:
            self._expected.add(name)
            self._pending.labels(name).set(rows)
