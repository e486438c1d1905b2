"""Strings put together of parts that may be known, unknown, or one of several."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod

from datamigrate.thought.linting.lexing import HOLE
from datamigrate.thought.linting.values import Text, Values, texts

_MOST = 32
_FIELD = re.compile(r"(\{\{|\}\})|\{([^{}!:]*)(?:![rsa])?(?::[^{}]*)?\}")
_PERCENT = re.compile(r"(%%)|%(?:\((\w+)\))?[-+ #0]*[\d.]*[sdrifxa]")

UNKNOWN: tuple[Text, ...] = (Text(HOLE),)


def joined(parts: Sequence[Values]) -> tuple[Text, ...]:
    """The parts one after the other, in every combination; too many of those leave holes."""
    alternatives = [tuple(texts(part)) or UNKNOWN for part in parts]
    if prod(len(several) for several in alternatives) > _MOST:
        alternatives = [several if len(several) == 1 else UNKNOWN for several in alternatives]
    mixed = any(len(several) > 1 for several in alternatives)
    return tuple(
        Text("".join(text.text for text in choice), mixed or any(text.mixed for text in choice))
        for choice in product(*alternatives)
    )


def formatted(template: Text, positional: Sequence[Values], named: Mapping[str, Values]) -> tuple[Text, ...]:
    """`template.format(...)`."""
    counter = iter(range(len(positional)))

    def part(match: re.Match[str]) -> Values:
        if match[1]:
            return (Text(match[1][0]),)
        field = re.split(r"[.\[]", match[2])[0]
        index = int(field) if field.isdecimal() else next(counter, -1) if not match[2] else -1
        if 0 <= index < len(positional):
            return positional[index]
        return named.get(field, ()) if field == match[2] else ()

    return _filled(template, _FIELD, part)


def percented(template: Text, values: Sequence[Values], named: Mapping[str, Values]) -> tuple[Text, ...]:
    """`template % values`."""
    counter = iter(values)

    def part(match: re.Match[str]) -> Values:
        if match[1]:
            return (Text("%"),)
        return named.get(match[2], ()) if match[2] else next(counter, ())

    return _filled(template, _PERCENT, part)


def _filled(
    template: Text, field: re.Pattern[str], part: Callable[[re.Match[str]], Values]
) -> tuple[Text, ...]:
    parts: list[Values] = []
    end = 0
    for match in field.finditer(template.text):
        parts += [(Text(template.text[end : match.start()], template.mixed),), part(match)]
        end = match.end()
    return joined([*parts, (Text(template.text[end:], template.mixed),)])
