"""Events on their way to others: what they are told, and what they are not."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from datamigrate.faces.config import configuration_from
from datamigrate.faces.notices.logs import FACTS, JsonFormatter, log_event
from datamigrate.faces.notices.notice import notice_of
from datamigrate.faces.notices.prometheus import Metrics
from datamigrate.faces.notices.telemetry import Telemetry
from datamigrate.faces.notifying import Notify
from datamigrate.thought.stalling import Stalls
from datamigrate.words import events
from datamigrate.words.errors import ConfigurationError

BATCH = events.BatchDone("fill", 1, 100, 0, 0.25, 100, 100, "42")
STARTED = events.Started("fill", 0, 1000, "counted", resumed=False)
FINISHED = events.Finished("fill", 1000, 0, 65.0)
FAILED = events.Failed("fill", "division by zero")
STALLED = events.Stalled("fill", 600.0, "replica lag 12.0s")


# stalled ------------------------------------------------------------------------------------------------


def test_a_migration_without_a_batch_for_that_long_has_stalled_and_is_told_of_once() -> None:
    stalls = Stalls(after=600)
    stalls.note(STARTED, 0)
    stalls.note(BATCH, 100)
    assert stalls.due(699) == []
    assert stalls.due(700) == [events.Stalled("fill", 600)]
    assert stalls.due(2000) == []
    stalls.note(BATCH, 2000)
    assert stalls.due(2600) == [events.Stalled("fill", 600)]


@pytest.mark.parametrize("reason", [events.HeldBack("fill", "why"), events.Retrying("fill", "why")])
def test_what_it_waits_for_is_the_reason_until_the_next_batch(reason: events.Event) -> None:
    stalls = Stalls(after=10)
    stalls.note(STARTED, 0)
    stalls.note(reason, 1)
    assert stalls.due(10) == [events.Stalled("fill", 10, "why")]
    stalls.note(BATCH, 10)
    assert stalls.due(20) == [events.Stalled("fill", 10, "")]


@pytest.mark.parametrize("end", [FINISHED, FAILED, events.Stopped("fill", 1, "x"), events.FoundDone("fill")])
def test_what_has_ended_does_not_stall(end: events.Event) -> None:
    stalls = Stalls(after=10)
    stalls.note(STARTED, 0)
    stalls.note(end, 1)
    assert stalls.due(1000) == []


# notices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        (FINISHED, "done", "fill is done and verified: 1,000 rows in 1m 5s."),
        (
            events.Finished("fill", 1000, 0, 5.0, quarantined=3, before=900),
            "done",
            "fill is done with 3 quarantined: 100 rows in 5.0s, 1,000 in all.",
        ),
        (FAILED, "failed", "fill has failed: division by zero"),
        (STALLED, "stalled", "fill has done no batch for 10m: replica lag 12.0s"),
        (events.Stalled("fill", 600.0), "stalled", "fill has done no batch for 10m."),
    ],
)
def test_a_notice_is_a_sentence_and_the_facts(event: events.Event, kind: str, text: str) -> None:
    notice = notice_of(event, "postgresql://h/db", "ann@web-1:7")
    assert notice is not None
    payload = notice.payload()
    assert (payload["version"], payload["notice"], payload["text"]) == (1, kind, text)
    assert payload["event"] == event.facts()
    assert (payload["database"], payload["owner"]) == ("postgresql://h/db", "ann@web-1:7")
    json.dumps(payload)


@pytest.mark.parametrize("event", [STARTED, BATCH, events.Stopped("fill", 1, "SIGTERM")])
def test_the_usual_course_of_things_is_no_notice(event: events.Event) -> None:
    assert notice_of(event, "", "") is None


# configuration ------------------------------------------------------------------------------------------


def notify(table: Any) -> Notify:
    return configuration_from({"notify": table}, Path("/project"), "file").notify


def test_whom_to_tell_and_of_what() -> None:
    found = notify({"url": "https://h/x", "command": ["a", "b c"], "on": ["failed"], "stalled_after": "1m"})
    assert found == Notify("https://h/x", ("a", "b c"), frozenset({"failed"}), 60.0)
    assert notify({"command": "tell 'on call'"}).command == ("tell", "on call")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"urls": "x"}, "Did you mean 'url'?"),
        ({"url": "mailto:geheim@example.org"}, "Write https://"),
        ({"command": ""}, "a text is wanted"),
        ({"command": [1]}, "a command is wanted"),
        ({"command": "tell 'geheim"}, "No closing quotation"),
        ({"on": ["ended"]}, "done, failed, stalled"),
        ({"stalled_after": 0}, "greater than nought"),
        (7, "a table is wanted"),
    ],
)
def test_a_mistake_in_it_is_told_without_what_may_be_secret(table: Any, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        notify(table)
    assert told in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_an_address_is_not_shown_with_the_rest() -> None:
    assert "geheim" not in repr(notify({"url": "https://h/geheim"}))


# logs ---------------------------------------------------------------------------------------------------


def test_an_event_is_a_record_that_a_formatter_writes_as_json(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "datamigrate")
    for event in (BATCH, FAILED, FINISHED):
        log_event(event)
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("DEBUG", "BatchDone"),
        ("ERROR", "Failed"),
        ("INFO", "Finished"),
    ]
    record = caplog.records[1]
    assert getattr(record, FACTS) == FAILED.facts()
    line = json.loads(JsonFormatter().format(record))
    assert {**line, **FAILED.facts()} == line
    assert (line["level"], line["logger"]) == ("error", "datamigrate")


def test_a_record_of_somebody_else_is_a_line_too() -> None:
    record = logging.LogRecord("other", logging.WARNING, "f.py", 1, "%s is %s", ("a", "b"), None)
    line = json.loads(JsonFormatter().format(record))
    assert (line["event"], line["message"], line["level"]) == ("Log", "a is b", "warning")


# metrics and spans --------------------------------------------------------------------------------------


def test_prometheus_is_told_what_is_counted_on_the_way() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for event in (events.Started("fill", 0, None, "", resumed=False), BATCH):
        metrics(event)
    assert 'datamigrate_pending_rows{migration="fill"}' not in generate_latest(registry).decode()
    metrics(events.Counted("fill", 100, 900, "counted"))
    metrics(BATCH)
    assert 'datamigrate_pending_rows{migration="fill"} 800.0' in generate_latest(registry).decode()


def test_prometheus_is_told_counts_and_how_it_stands() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for event in (STARTED, BATCH, BATCH, events.HeldBack("fill", "x"), events.Retrying("fill", "x")):
        metrics(event)
    text = generate_latest(registry).decode()
    for line in (
        'datamigrate_rows_total{migration="fill"} 200.0',
        'datamigrate_batch_seconds_count{migration="fill"} 2.0',
        'datamigrate_batch_seconds_sum{migration="fill"} 0.5',
        'datamigrate_pending_rows{migration="fill"} 800.0',
        'datamigrate_running{migration="fill"} 1.0',
        'datamigrate_waiting{migration="fill"} 1.0',
        'datamigrate_retries_total{migration="fill"} 1.0',
    ):
        assert line in text.splitlines()
    metrics(events.WentOn("fill", 1.0))
    metrics(FAILED)
    text = generate_latest(registry).decode()
    assert 'datamigrate_ended_total{migration="fill",outcome="failed"} 1.0' in text
    assert 'datamigrate_running{migration="fill"} 0.0' in text
    assert 'datamigrate_waiting{migration="fill"} 0.0' in text


class Collected:
    """An SDK in memory, and a subscriber that tells it."""

    def __init__(self) -> None:
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers, meters = (
            TracerProvider(shutdown_on_exit=False),
            MeterProvider([self.reader], shutdown_on_exit=False),
        )
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        about = {"db.system.name": "postgresql"}
        self.telemetry = Telemetry(tracers.get_tracer("t"), meters.get_meter("t"), about)

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        (of_resource,) = data.resource_metrics
        (of_scope,) = of_resource.scope_metrics
        return {metric.name: metric.data.data_points[0] for metric in of_scope.metrics}


def test_opentelemetry_is_told_counts_and_has_a_span_for_the_migration() -> None:
    collected = Collected()
    for event in (
        STARTED,
        BATCH,
        BATCH,
        events.HeldBack("fill", "lag"),
        events.WentOn("fill", 3.0),
        FINISHED,
    ):
        collected.telemetry(event)
    metrics = collected.metrics()
    assert metrics["datamigrate.rows"].value == 200
    assert metrics["datamigrate.batch.duration"].sum == 0.5
    assert metrics["datamigrate.wait.duration"].value == 3.0
    assert dict(metrics["datamigrate.rows"].attributes) == {
        "db.system.name": "postgresql",
        "datamigrate.migration": "fill",
    }
    (span,) = collected.spans.get_finished_spans()
    assert span.name == "datamigrate migration fill"
    assert span.attributes is not None
    assert span.attributes["datamigrate.outcome"] == "finished"
    assert [told.name for told in span.events] == ["HeldBack", "WentOn"]
    assert span.status.is_unset


def test_a_span_of_what_fails_or_is_broken_off_says_so() -> None:
    collected = Collected()
    for event in (STARTED, FAILED, events.Started("other", 0, None, "", resumed=False)):
        collected.telemetry(event)
    collected.telemetry.end()
    failed, broken_off = collected.spans.get_finished_spans()
    assert (failed.status.is_ok, failed.status.description) == (False, "division by zero")
    assert broken_off.attributes is not None
    assert broken_off.attributes["datamigrate.outcome"] == "interrupted"


def test_a_password_that_was_met_is_in_no_notice_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    failed = events.Failed("fill", "postgresql://ann:hunter2secret@h/db does not let us in")
    notice = notice_of(failed, "", "")
    caplog.set_level(logging.DEBUG, "datamigrate")
    log_event(failed)
    assert notice is not None
    told = json.dumps(notice.payload()) + JsonFormatter().format(caplog.records[0])
    assert "hunter2secret" not in told
    assert told.count("ann:***@h/db") == 3
