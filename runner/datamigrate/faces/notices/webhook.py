"""A notice as JSON, posted to an address."""

import hashlib
import hmac
import json
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from urllib.error import HTTPError
from urllib.parse import urlsplit

import anyio
import stamina

from datamigrate.doing.asking import NO_ANSWER, why_no_answer
from datamigrate.faces.notices.notice import Notice

SIGNATURE = "X-Datamigrate-Signature"
ATTEMPTS = 4
PATIENCE = 5.0


class NotTaken(Exception):
    """The address did not take the notice; the message names its host and nothing that may be secret."""


class NotNow(NotTaken):
    """... but it may yet."""


@dataclass(frozen=True)
class Webhook:
    """Where to post. With a `secret`, the body's HMAC-SHA256 goes along in the header SIGNATURE."""

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    name: str = "webhook"

    async def __call__(self, notice: Notice) -> None:
        """Post it, a few times if need be. Raises NotTaken."""
        body = json.dumps(notice.payload(), default=str).encode()
        async for attempt in stamina.retry_context(on=NotNow, attempts=ATTEMPTS, timeout=4 * PATIENCE):
            with attempt:
                await anyio.to_thread.run_sync(partial(self._post, body), abandon_on_cancel=True)

    def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "datamigrate"}
        if self.secret:
            headers[SIGNATURE] = f"sha256={hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()}"
        host = urlsplit(self.url).hostname
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.url, body, headers), timeout=PATIENCE
            ) as answer:
                answer.read(1)
        except HTTPError as error:
            with error:
                passing = error.code >= 500 or error.code == 429
            raise (NotNow if passing else NotTaken)(f"{host} answers {error.code}") from None
        except NO_ANSWER as error:
            raise (NotNow if isinstance(error, OSError) else NotTaken)(why_no_answer(host, error)) from None
