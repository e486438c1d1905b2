"""Durations as people write them: 90, 90s, 25m, 1h30m, 2d."""

import re

from datamigrate.words.errors import UsageError

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """The duration in seconds; a bare number is seconds. Raises UsageError for anything else."""
    squeezed = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(?:\.\d+)?", squeezed):
        return float(squeezed)
    if not squeezed or _PART.sub("", squeezed):
        raise UsageError(f"{text!r} is no duration.", "Write it like 90s, 25m, 1h30m or 2d.")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(squeezed))


def human_duration(seconds: float) -> str:
    """The duration in at most two units: 4.2s, 12m 5s, 3h 20m, 2d 4h."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (left, "s")]
    first = next(i for i, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number}{unit}" for number, unit in parts[first : first + 2] if number)
