"""`[tool.datamigrate.notify]`: whom to tell, and of what."""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from datamigrate.database.address import Address
from datamigrate.faces.notices.command import Command
from datamigrate.faces.notices.notice import KINDS
from datamigrate.faces.notices.post import Post, Sink
from datamigrate.faces.values import must_be_known, positive, text
from datamigrate.words.errors import ConfigurationError, UsageError
from datamigrate.words.secrets import learn, learn_secret

SECTION = "[tool.datamigrate.notify]"
URL_VARIABLE, SECRET_VARIABLE = "DATAMIGRATE_NOTIFY_URL", "DATAMIGRATE_NOTIFY_SECRET"


@dataclass(frozen=True)
class Notify:
    """What the project says: a `url` to post to, the words of a `command`, of which kinds of notices, and after
    how many seconds without a batch a migration has stalled."""

    url: str | None = field(default=None, repr=False)
    command: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset(KINDS)
    stalled_after: float = 600.0


def notify_from(value: Any) -> Notify:
    """Whom to tell, as a table says. Raises ValueError, or ConfigurationError for a key of the table."""
    if not isinstance(value, dict):
        raise ValueError("a table is wanted")
    notify = Notify()
    for key, setting in value.items():
        must_be_known(key, _KEYS, SECTION)
        try:
            notify = _KEYS[key](notify, setting)
        except (ValueError, OverflowError, UsageError) as error:
            # the setting itself is not repeated: there may be a secret in it
            raise ConfigurationError(f"{SECTION} {key}: {error}") from None
    return notify


def post_for(notify: Notify, database: Address, owner: str) -> Post:
    """The post of a run on this database; the environment has the last word on the address, and the secret."""
    sinks: list[Sink] = []
    if url := os.environ.get(URL_VARIABLE) or notify.url:
        # what speaks HTTP takes long to import, and only a run that posts needs it
        from datamigrate.faces.notices.webhook import Webhook

        secret = os.environ.get(SECRET_VARIABLE)
        learn(url)
        learn_secret(secret)
        sinks.append(Webhook(_url(url), secret))
    if notify.command:
        sinks.append(Command(notify.command))
    return Post(tuple(sinks), notify.kinds, notify.stalled_after, str(database), owner)


def _url(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ConfigurationError(f"{URL_VARIABLE}, or {SECTION} url, is no address.", "Write https://...")
    return value


def _words(value: Any) -> tuple[str, ...]:
    words = value if isinstance(value, list) else shlex.split(text(value))
    if not words or not all(isinstance(word, str) for word in words):
        raise ValueError('a command is wanted, e.g. "notify-oncall --team data"')
    return tuple(words)


def _kinds(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not set(map(str, value)) <= set(KINDS):
        raise ValueError(f"a list of these is wanted: {', '.join(KINDS)}")
    return frozenset(value)


_KEYS: Mapping[str, Callable[[Notify, Any], Notify]] = {
    "url": lambda notify, value: replace(notify, url=_url(value)),
    "command": lambda notify, value: replace(notify, command=_words(value)),
    "on": lambda notify, value: replace(notify, kinds=_kinds(value)),
    "stalled_after": lambda notify, value: replace(notify, stalled_after=positive(value)),
}
