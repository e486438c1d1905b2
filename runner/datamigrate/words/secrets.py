"""Passwords, and keeping them out of all that is shown or kept.

A password is hidden where it stands in a URL or behind a word like `password=`. Once the URL that has it was met, it
is hidden wherever else it turns up: a driver quotes what it could not read, and an unescaped @ ends a password too
early.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"

_LEAST = 6
_LONG = 12

_WORD = r"\b[\w-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token)"
_IN_TEXT = re.compile(
    rf"""(?P<before> ://[^\s:/@]*: ) \S+ (?=@)
    | (?P<word> {_WORD} (?: = | ["']\s*:\s*(?=["']) | ["']\s*=\s* ) )
      (?: '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | [^\s&"'),;]+ )""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_ARGUMENT = re.compile(
    rf"(?P<before> ://[^:/@]*: ) .+ (?=@) | (?P<word> {_WORD}= ) [^&]+",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_IN_URL = re.compile(
    rf"://[^:/@]*:(?P<first>[^@]*)(?=@) | {_WORD}=(?P<behind>[^&]+)", re.IGNORECASE | re.VERBOSE
)
_UNESCAPED = re.compile(r"://[^:/@]*:(.*)@", re.DOTALL)

_known: set[str] = set()


def learn(*urls: str | None) -> None:
    """Hide the passwords in these URLs from now on, wherever this process shows them. Any other text will do."""
    for url in filter(None, urls):
        for found in _IN_URL.finditer(url):
            learn_secret(found["first"], found["behind"])
        if unescaped := _UNESCAPED.search(url):
            learn_secret(unescaped[1])
            _learn_parts(unescaped[1])


def learn_secret(*secrets: str | None) -> None:
    """Hide these texts from now on; words so short or plain that they are met by accident stay as they are."""
    for secret in filter(None, secrets):
        for one in {secret, unquote(secret), unquote_plus(secret)}:
            if len(one) >= _LONG or (len(one) >= _LEAST and not one.isalpha()):
                _known.update(
                    (one, quote(one, safe=""), quote_plus(one), repr(one)[1:-1], json.dumps(one)[1:-1])
                )


def _learn_parts(password: str) -> None:
    """Of a password that has characters in it that end one, the parts that are taken for a host, port or path."""
    for end in re.finditer("[@:/]", password):
        if part := password[end.end() :]:
            learn_secret(re.split("[@:/]", part)[0])
            _known.add(f"{part}@")


def redacted(text: str) -> str:
    """The text without its passwords."""
    text = _IN_TEXT.sub(_hide, text)
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = _alone(secret).sub(HIDDEN, text)
    return text


def redacted_values(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data whose texts are without passwords."""
    return {name: redacted(value) if isinstance(value, str) else value for name, value in facts.items()}


def redacted_arguments(arguments: Sequence[str]) -> str:
    """A command line as one text without its passwords, which may have blanks in them."""
    return redacted(" ".join(_IN_ARGUMENT.sub(_hide, argument) for argument in arguments))


def _hide(found: re.Match[str]) -> str:
    return f"{found['before'] or found['word']}{HIDDEN}"


def _alone(secret: str) -> re.Pattern[str]:
    before = r"(?<!\w)" if re.match(r"\w", secret) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", secret) else ""
    return re.compile(f"{before}{re.escape(secret)}{after}")
