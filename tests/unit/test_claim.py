"""Claims: who works on what, and how far."""

from __future__ import annotations

from dataclasses import replace

from datamigrate.words.claim import Tally, owner_from, person
from unit.samples import OWNER, claim


def test_an_owner_is_read_back_from_its_identity() -> None:
    assert owner_from(OWNER.identity) == OWNER


def test_an_owner_is_shown_as_person_host_and_process() -> None:
    assert str(OWNER) == "ann@web-1:4711"


def test_an_identity_is_shown_as_its_owner_and_any_other_text_as_it_is() -> None:
    assert person(OWNER.identity) == "ann@web-1:4711"
    assert person("somebody") == "somebody"


def test_two_processes_with_the_same_number_are_two_owners() -> None:
    assert replace(OWNER, token="later").identity != OWNER.identity


def test_a_claim_after_a_batch_has_moved_its_cursor_and_counted() -> None:
    before = claim(cursor=(10,), upper=(99,), tally=Tally(rows=10, left_alone=1, batches=2))
    after = before.after((20,), exhausted=False, rows=8, left_alone=2)
    assert after.cursor == (20,)
    assert after.tally == Tally(rows=18, left_alone=3, batches=3)
    assert (after.upper, after.generation, after.owner) == (before.upper, before.generation, before.owner)


def test_a_claim_is_not_changed_by_what_comes_after_it() -> None:
    before = claim()
    before.after((1,), exhausted=True, rows=1, left_alone=0)
    assert (before.cursor, before.exhausted, before.tally) == (None, False, Tally())
