"""The tree of errors, and what each of them tells."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from datamigrate.words import errors
from datamigrate.words.errors import DatamigrateError, Place, ScriptError
from datamigrate.words.exits import Exit

CLASSES = [
    found for found in vars(errors).values() if inspect.isclass(found) and issubclass(found, DatamigrateError)
]


def drawn() -> Iterator[tuple[str, str]]:
    """Each class of the drawing, with the one that it hangs on."""
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"((?:[│ ]   )*[├└]── )?(\w+)( |$)", line):
            depth = len(found[1] or "") // 4
            if found[2] in vars(errors):
                above[depth:] = [found[2]]
                yield found[2], above[depth - 1] if depth else "Exception"


def test_every_error_is_drawn_where_it_hangs() -> None:
    tree = dict(drawn())
    assert tree == {found.__name__: found.__base__.__name__ for found in CLASSES if found.__base__}


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_says_in_its_docstring_what_to_do(error: type[DatamigrateError]) -> None:
    assert error.__doc__ is not None
    assert error.__doc__ != (error.__base__.__doc__ if error.__base__ else None)
    assert error.__doc__.strip().endswith(".")


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_has_an_exit_code_that_is_not_success(error: type[DatamigrateError]) -> None:
    assert error.exit in Exit
    assert error.exit is not Exit.OK


def test_the_exit_codes_are_these() -> None:
    assert {code.name: int(code) for code in Exit} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "PENDING": 3,
        "BLOCKED": 4,
        "HELD": 5,
        "QUARANTINED": 6,
        "STOPPED": 75,
        "INTERRUPTED": 130,
    }


def test_an_error_is_told_with_its_hint_on_the_next_line() -> None:
    assert str(DatamigrateError("It broke.", "Mend it.")) == "It broke.\nMend it."


def test_an_error_without_a_hint_is_its_message() -> None:
    assert str(DatamigrateError("It broke.")) == "It broke."


def test_an_error_is_plain_data_too() -> None:
    assert ScriptError("It broke.", "Mend it.", Place("a.py", 3)).facts() == {
        "error": "ScriptError",
        "message": "a.py:3: It broke.",
        "hint": "Mend it.",
    }


@pytest.mark.parametrize(("place", "told"), [(Place("a.py", 3), "a.py:3"), (Place("a.py"), "a.py")])
def test_a_script_error_begins_with_its_place(place: Place, told: str) -> None:
    error = ScriptError("It broke.", place=place)
    assert error.message == f"{told}: It broke."
    assert error.place == place


def test_a_script_error_without_a_place_is_its_message() -> None:
    assert ScriptError("It broke.").message == "It broke."
