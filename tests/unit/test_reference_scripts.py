"""The repository's own data migrations: what they compute, apart from any database. What they do there is
proven by the default tests, which pytest collects from their folder."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from databases import ROOT
from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.loading import load_scripts
from unit.samples import module_at

SCRIPTS = ROOT / "datamigrations"
LIBRARY = load_scripts(SCRIPTS)
EMAIL = module_at(SCRIPTS / "20261102_0910_normalise_email.py")
SLUG = module_at(SCRIPTS / "20261103_0910_conversation_slug.py")

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def test_there_is_a_script_of_every_form() -> None:
    assert sorted(m.kind for m in LIBRARY.migrations) == ["batch", "compute", "delete", "free", "update"]


@pytest.mark.parametrize("script", LIBRARY.scripts, ids=lambda script: str(script.name))
def test_every_script_has_a_title_and_requires_something(script: Any) -> None:
    assert script.migration.title.endswith(".")
    assert script.migration.requires


# normalise_email


@pytest.mark.parametrize(
    ("email", "key"),
    [
        ("ann@example.org", "ann@example.org"),
        ("Ann@Example.ORG", "ann@example.org"),
        (" ann@example.org ", "ann@example.org"),
        ("ann+news@example.org", "ann@example.org"),
        ("ann+a+b@example.org", "ann@example.org"),
        ("+only@example.org", "+only@example.org"),
        ('"a@b"+x@example.org', '"a@b"@example.org'),
        ("straße@example.org", "strasse@example.org"),
        ("\uff41\uff4e\uff4e@example.org", "ann@example.org"),
        ("no-address", "no-address"),
        ("", ""),
    ],
)
def test_addresses_that_are_looked_up_alike_have_one_key(email: str, key: str) -> None:
    assert EMAIL.normalise(email) == key


@given(st.emails() | st.text())
def test_normalising_twice_changes_nothing(email: str) -> None:
    once = EMAIL.normalise(email)
    assert EMAIL.normalise(once) == once


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert EMAIL.fold(EMAIL.fold(text)) == EMAIL.fold(text)


def test_the_script_itself_can_be_called_with_a_row() -> None:
    script = LIBRARY.named("normalise_email")
    assert script is not None
    assert isinstance(script.form, ComputeRows)
    assert script.form(SimpleNamespace(email="Ann+x@Example.org")) == {"email_key": "ann@example.org"}


# conversation_slug


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Weekend in Rome", "weekend-in-rome"),
        ("  --Hello,   World!-- ", "hello-world"),
        ("Crème Brûlée", "creme-brulee"),
        ("Straße", "strasse"),
        ("数据", "conversation"),
        ("", "conversation"),
        (None, "conversation"),
        ("!!!", "conversation"),
        ("a" * 300, "a" * 200),
        ("a" * 199 + " b", "a" * 199),
    ],
)
def test_a_title_becomes_words_joined_by_hyphens(title: str | None, slug: str) -> None:
    assert SLUG.slugify(title) == slug


@given(st.text())
def test_any_title_becomes_a_slug_that_stays_as_it_is(title: str) -> None:
    slug = SLUG.slugify(title)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert len(slug) <= SLUG.LONGEST
    assert SLUG.slugify(slug) == slug


def test_a_slug_that_nobody_holds_goes_to_the_smallest_key() -> None:
    assert SLUG.owners_of({TWO: "rome", ONE: "rome", THREE: "oslo"}, {}) == {"rome": ONE, "oslo": THREE}


def test_a_holder_with_a_smaller_key_keeps_its_slug() -> None:
    assert SLUG.owners_of({TWO: "rome"}, {"rome": ONE}) == {"rome": ONE}


def test_a_holder_with_a_larger_key_gives_its_slug_up() -> None:
    assert SLUG.owners_of({ONE: "rome"}, {"rome": TWO}) == {"rome": ONE}


wanted = st.dictionaries(st.builds(UUID, int=st.integers(0, 40)), st.sampled_from(["rome", "oslo", "bonn"]))


@given(wanted, st.integers(0, 9))
def test_who_gets_a_slug_does_not_depend_on_how_the_batches_fall(wants: dict[UUID, str], cut: int) -> None:
    in_order = sorted(wants.items())
    first, second = dict(in_order[cut:]), dict(in_order[:cut])
    held = SLUG.owners_of(first, {})
    assert SLUG.owners_of(second, held) == SLUG.owners_of(wants, {})
