"""Counting faults, whatever becomes of the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from campaign.counting import Count, Counter


@pytest.fixture
def count() -> Iterator[Counter]:
    """Makes counts, and keeps them in the end: those that did not survive are lost."""
    counts: list[Count] = []

    def begin(fault: str, subject: str, database: str) -> Count:
        counts.append(Count(fault, subject, database))
        return counts[-1]

    yield begin
    for one in counts:
        one.keep()
