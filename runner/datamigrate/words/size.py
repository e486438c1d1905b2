"""Sizes as people write them: 4096, 512kB, 64MB, 1.5GB, in powers of 1024 as PostgreSQL reads them."""

import re

from datamigrate.words.errors import UsageError

_UNITS = ("B", "kB", "MB", "GB", "TB")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmgt]?b)?", re.IGNORECASE)


def parse_size(text: str) -> float:
    """The size in bytes; a bare number is bytes. Raises UsageError for anything else."""
    found = _SIZE.fullmatch(text.strip().replace(" ", ""))
    if not found:
        raise UsageError(f"{text!r} is no size.", "Write it like 512kB, 64MB or 1.5GB.")
    power = [unit.lower() for unit in _UNITS].index((found[2] or "B").lower())
    return float(found[1]) * 1024.0**power


def human_size(size: float) -> str:
    """The size in the unit that suits it: 512 B, 64.0 MB."""
    power = 0
    while size >= 1024 and power < len(_UNITS) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.0f} B" if power == 0 else f"{size:.1f} {_UNITS[power]}"
