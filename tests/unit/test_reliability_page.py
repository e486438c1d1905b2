"""The page on reliability is made of what the campaign counted."""

from __future__ import annotations

from campaign.report import page

COUNTED = [
    {"fault": "disk full", "subject": "update", "database": "sqlite", "tried": 3, "survived": 3},
    {"fault": "disk full", "subject": "free", "database": "sqlite", "tried": 2, "survived": 1},
]
SOAKED = {
    "what": "update in tiny batches",
    "database": "postgresql",
    "batches": 10_000,
    "memory_early": 100 * 2**20,
    "memory_late": 101 * 2**20,
    "descriptors_early": 12,
    "descriptors_late": 12,
    "batch_early": 0.004,
    "batch_late": 0.005,
}


def test_faults_of_one_kind_are_added_up_and_what_was_lost_is_said() -> None:
    text = page([*COUNTED, SOAKED])
    assert "**5 faults tried, 4 survived, 1 lost.**" in text
    assert "| disk full | SQLite | free; update | 5 | 4 | 1 |" in text


def test_a_long_life_is_a_row_with_its_memory_and_its_pace() -> None:
    row = "| update in tiny batches | PostgreSQL | 10,000 | 100 | 101 | 12, then 12 | 4.0 ms | 5.0 ms |"
    assert row in page([*COUNTED, SOAKED])


def test_no_name_of_a_table_is_left_open() -> None:
    assert "{" not in page([])
