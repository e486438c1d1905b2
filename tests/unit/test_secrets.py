"""Passwords are hidden where they stand, and known ones wherever they turn up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.words import secrets
from datamigrate.words.errors import DatamigrateError
from datamigrate.words.secrets import learn, learn_secret, redacted, redacted_arguments


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what other tests have taught this process."""
    monkeypatch.setattr(secrets, "_known", set())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:geheim@host/name", "postgresql://ann:***@host/name"),
        ("to 'postgresql://ann:ge@heim@host/name'.", "to 'postgresql://ann:***@host/name'."),
        ("postgresql://ann@host/name", "postgresql://ann@host/name"),
        ("postgresql://host:5432/name", "postgresql://host:5432/name"),
        ("sqlite:////home/ann@work/a.db", "sqlite:////home/ann@work/a.db"),
        ("//host/name?password=geheim&sslmode=require", "//host/name?password=***&sslmode=require"),
        ("sslpassword=geheim", "sslpassword=***"),
        ("host=db password='ge heim' user=ann", "host=db password=*** user=ann"),
        ("{'password': 'geheim', 'user': 'ann'}", "{'password': ***, 'user': 'ann'}"),
        ("API_TOKEN=geheim", "API_TOKEN=***"),
        ('password authentication failed for user "ann"', 'password authentication failed for user "ann"'),
        ("password: it is wrong", "password: it is wrong"),
        ("passfile=/home/ann/.pgpass", "passfile=/home/ann/.pgpass"),
    ],
)
def test_a_password_is_hidden_where_it_stands(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_an_argument_is_hidden_whole_with_the_blanks_in_it() -> None:
    arguments = ["run", "--url", "postgresql://ann:ge heim@host/name", "-x", "password=ge heim"]
    assert redacted_arguments(arguments) == "run --url postgresql://ann:***@host/name -x password=***"


def test_what_was_learned_from_a_url_is_hidden_wherever_it_turns_up() -> None:
    learn("postgresql://ann:ge%40h%22eim@host/name")
    for said in ('could not parse ge@h"eim', "got 'ge@h\\\"eim'", "got ge%40h%22eim"):
        assert "eim" not in redacted(said)
    assert redacted("ann at host") == "ann at host"


def test_the_part_of_an_unescaped_password_that_is_taken_for_a_host_is_hidden() -> None:
    learn("postgresql://ann:ge@heim:1@host/name")
    assert redacted("no host heim:1@host") == "no host ***host"


def test_words_that_are_met_by_accident_are_left_alone() -> None:
    learn("postgresql://ann:postgres@host/name", "postgresql://ann:ab1@host/name", None)
    assert redacted("postgres says ab1") == "postgres says ab1"
    learn_secret("hunter2", None)
    assert redacted("hunter2, xhunter2x") == "***, xhunter2x"


def test_no_error_repeats_a_password() -> None:
    error = DatamigrateError("no postgresql://ann:geheim@host/name", "Not password=geheim.")
    assert "geheim" not in str(error) + repr(error) + str(error.facts())


@given(st.text(), st.text())
def test_any_text_can_be_learned_and_redacted(url: str, text: str) -> None:
    learn(url, f"x://a:{text}@b", f"password={text}")
    assert isinstance(redacted(text + url), str)
