"""Notices on their way: posted, signed, tried again, run; never in the way of the run."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from datamigrate.faces.notices import post as post_office
from datamigrate.faces.notices.command import Command, CommandFailed
from datamigrate.faces.notices.notice import KINDS, Notice
from datamigrate.faces.notices.post import Post
from datamigrate.faces.notices.webhook import SIGNATURE, NotTaken, Webhook
from datamigrate.words import events

pytestmark = pytest.mark.anyio

NOTICE = Notice(
    "done", "fill", "fill is done.", {}, "sqlite:///x", "ann@h:1", datetime(2026, 1, 1, tzinfo=UTC)
)
FINISHED = events.Finished("fill", 1, 0, 1.0)


@dataclass
class Hook:
    """An address that keeps what is posted to it, and answers with these codes, the last one for ever."""

    codes: list[int]
    url: str = ""
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def hook(*codes: int) -> Iterator[Hook]:
    it = Hook(list(codes))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            it.taken.append((dict(self.headers), body))
            self.send_response(it.codes.pop(0) if len(it.codes) > 1 else it.codes[0])
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it.url = f"http://127.0.0.1:{server.server_port}/geheim"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_notice_is_posted_as_json_and_signed_with_the_secret() -> None:
    with hook(200) as it:
        await Webhook(it.url, "s3cret")(NOTICE)
    ((headers, body),) = it.taken
    assert json.loads(body) == NOTICE.payload()
    assert headers["Content-Type"] == "application/json"
    assert headers[SIGNATURE] == f"sha256={hmac.new(b's3cret', body, hashlib.sha256).hexdigest()}"


async def test_an_address_that_is_busy_is_tried_again_and_without_a_secret_nothing_is_signed() -> None:
    with hook(503, 429, 200) as it:
        await Webhook(it.url)(NOTICE)
    assert len(it.taken) == 3
    assert SIGNATURE not in it.taken[0][0]


async def test_an_address_that_refuses_is_asked_once_and_its_path_is_not_repeated() -> None:
    with hook(403) as it, pytest.raises(NotTaken) as caught:
        await Webhook(it.url)(NOTICE)
    assert len(it.taken) == 1
    assert str(caught.value) == "127.0.0.1 answers 403"
    assert "geheim" not in repr(Webhook(it.url, "geheim"))


async def test_a_command_has_the_notice_on_its_input_and_in_its_environment(tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = (
        "import os, sys, pathlib; pathlib.Path(sys.argv[1]).write_text("
        "os.environ['DATAMIGRATE_NOTICE'] + os.environ['DATAMIGRATE_MIGRATION'] + sys.stdin.read())"
    )
    await Command((sys.executable, "-c", code, str(told)))(NOTICE)
    kind, payload = told.read_text()[:8], told.read_text()[8:]
    assert kind == "donefill"
    assert json.loads(payload) == NOTICE.payload()


@pytest.mark.parametrize(
    ("words", "told"),
    [(("sh", "-c", "exit 3"), "sh ended with 3"), (("no-such-command",), "no-such-command: No such file")],
)
async def test_a_command_that_fails_says_how(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(CommandFailed, match=told):
        await Command(words)(NOTICE)


@dataclass
class Slow:
    """A sink that takes its time, or never comes to an end, or fails."""

    seconds: float = 0.0
    error: Exception | None = None
    name: str = "slow"
    taken: list[str] = field(default_factory=list)

    async def __call__(self, notice: Notice) -> None:
        await anyio.sleep(self.seconds)
        if self.error:
            raise self.error
        self.taken.append(notice.kind)


def office(*sinks: Slow, kinds: frozenset[str] = frozenset(KINDS), stalled_after: float = math.inf) -> Post:
    return Post(sinks, kinds, stalled_after, "sqlite:///x", "ann@h:1")


async def test_the_run_does_not_wait_for_a_sink_and_what_is_left_is_delivered_in_the_end() -> None:
    sink, heard = Slow(seconds=0.1), list[events.Event]()

    async def work(publish: events.Publish) -> str:
        for _ in range(3):
            publish(FINISHED)
        publish(events.Verifying("fill"))
        assert sink.taken == []
        return "result"

    assert await office(sink).during(heard.append, work) == "result"
    assert sink.taken == ["done"] * 3
    assert [type(event) for event in heard] == [events.Finished] * 3 + [events.Verifying]


async def test_a_sink_that_never_ends_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_office, "AFTER_THE_END", 0.05)
    sink = Slow(seconds=1000)

    async def work(publish: events.Publish) -> str:
        publish(FINISHED)
        return "result"

    with anyio.fail_after(20):
        assert await office(sink).during(lambda _: None, work) == "result"


async def test_a_sink_that_fails_fails_no_run_and_is_told_of_and_the_others_are_served() -> None:
    broken, whole, heard = Slow(error=ValueError("no")), Slow(), list[events.Event]()

    async def work(publish: events.Publish) -> None:
        publish(FINISHED)

    await office(broken, whole).during(heard.append, work)
    assert heard == [FINISHED, events.Undelivered("fill", "slow", "no")]
    assert whole.taken == ["done"]


async def test_what_the_run_raises_is_raised_as_it_is_and_told_before() -> None:
    sink = Slow()

    async def work(publish: events.Publish) -> None:
        publish(events.Failed("fill", "x"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await office(sink).during(lambda _: None, work)
    assert sink.taken == ["failed"]


async def test_only_the_wanted_kinds_are_delivered_and_who_has_stalled_is_told_while_it_lasts() -> None:
    sink = Slow()

    async def work(publish: events.Publish) -> None:
        publish(events.Started("fill", 0, None, "", resumed=False))
        with anyio.fail_after(20):
            while not sink.taken:  # noqa: ASYNC110 - the clock sends no events
                await anyio.sleep(0.01)
        publish(FINISHED)

    await office(sink, kinds=frozenset({"stalled"}), stalled_after=0.05).during(lambda _: None, work)
    assert sink.taken == ["stalled"]
