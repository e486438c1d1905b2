"""Values of the configuration: each reader gives back what it read, or says in a ValueError what is wanted."""

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from datamigrate.words.duration import parse_duration
from datamigrate.words.errors import ConfigurationError
from datamigrate.words.size import parse_size


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("a text is wanted")
    return value


def seconds(value: Any) -> float:
    """A duration, as a number of seconds or as people write it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError('a duration is wanted, e.g. 0.5, "500ms" or "10s"')
    found = parse_duration(value) if isinstance(value, str) else float(value)
    if not 0 <= found < math.inf:
        raise ValueError("it must be neither negative nor infinite")
    return found


def positive(value: Any) -> float:
    """A duration that is not nought."""
    if (found := seconds(value)) <= 0:
        raise ValueError("it must be greater than nought")
    return found


def count(value: Any) -> int:
    """A whole number greater than nought."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number greater than nought is wanted")
    return value


def number(value: Any) -> float:
    """A number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("a number is wanted, not negative")
    return float(value)


def size(value: Any) -> float:
    """A size in bytes, as a number or as people write it."""
    if isinstance(value, str):
        return parse_size(value)
    try:
        return number(value)
    except ValueError:
        raise ValueError('a size is wanted, e.g. 4096, "64MB" or "1GB"') from None


def share(value: Any) -> float:
    """A share of time, from 0 to less than 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError("a share of time is wanted, from 0 to less than 1")
    return float(value)


def switch(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false is wanted")
    return value


def must_be_known(key: str, known: Iterable[str], where: str) -> None:
    """Raises ConfigurationError for a key that nobody knows, with the one that is meant."""
    if key in (names := sorted(known)):
        return
    close = get_close_matches(key, names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(names)}."
    raise ConfigurationError(f"{where} has an unknown key {key!r}.", hint)
