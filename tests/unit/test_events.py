"""Events: plain facts, told to every subscriber in order."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from datamigrate.words.events import BatchDone, Event, Verifying, publish_to

KINDS = Event.__subclasses__()

DONE = BatchDone("fill", batch=1, rows=5, left_alone=1, seconds=0.5, total=5, size=500, last_key="42")


def any_of(kind: type[Event]) -> Any:
    """An event of this kind whose every fact is its own name."""
    return kind(**{field.name: field.name for field in fields(kind)})


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_plain_data_with_its_kind_first(kind: type[Event]) -> None:
    facts = any_of(kind).facts()
    assert list(facts)[:2] == ["event", "migration"]
    assert facts.pop("event") == kind.__name__
    assert facts == {field.name: field.name for field in fields(kind)}


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_says_what_it_means(kind: type[Event]) -> None:
    assert kind.__doc__ is not None
    assert not kind.__doc__.startswith(f"{kind.__name__}(")


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_cannot_be_changed(kind: type[Event]) -> None:
    with pytest.raises(FrozenInstanceError):
        any_of(kind).migration = "other"


def test_all_facts_of_a_batch_are_told() -> None:
    assert DONE.facts() == {
        "event": "BatchDone",
        "migration": "fill",
        "batch": 1,
        "rows": 5,
        "left_alone": 1,
        "seconds": 0.5,
        "total": 5,
        "size": 500,
        "last_key": "42",
        "range": 0,
        "workers": 1,
    }


def test_every_subscriber_hears_every_event_in_order() -> None:
    heard: list[tuple[str, Event]] = []
    publish = publish_to(lambda e: heard.append(("first", e)), lambda e: heard.append(("second", e)))
    for event in (DONE, Verifying("fill")):
        publish(event)
    assert heard == [(who, event) for event in (DONE, Verifying("fill")) for who in ("first", "second")]


def test_without_subscribers_nothing_happens() -> None:
    publish_to()(Verifying("fill"))
