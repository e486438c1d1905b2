"""Which sockets Python code opens while it is listened to: what a rollback cannot call back."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

_NAMED = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
_CONNECTED = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


@dataclass(eq=False)
class Outbound:
    """Where it has gone. `names` are hosts that were looked up, `addresses` those that were connected to;
    what goes to the `database` is not counted."""

    database: tuple[str | None, int | None] = (None, None)
    names: dict[tuple[str, int], None] = field(default_factory=dict)
    addresses: dict[tuple[str, int], None] = field(default_factory=dict)

    @property
    def places(self) -> tuple[str, ...]:
        """`host:port` of each, by the name it was looked up by where there is one."""
        looked_up = {port for _, port in self.names} | {self.database[1]}
        nameless = [place for place in self.addresses if place[1] not in looked_up]
        named = [place for place in self.names if place != self.database]
        return tuple(f"{host}:{port}" if port else host for host, port in (*named, *nameless))


_ears: list[Outbound] = []


@contextmanager
def listening(outbound: Outbound) -> Iterator[None]:
    """Note in `outbound` what any Python code of this process looks up or connects to meanwhile.

    Sockets that are opened outside of Python's `socket`, by a library in C or another program, are not heard.
    """
    _install()
    _ears.append(outbound)
    try:
        yield
    finally:
        _ears.remove(outbound)


@cache
def _install() -> None:
    # a hook stays for as long as the process; without an ear it does nothing
    sys.addaudithook(_hear)


def _hear(event: str, arguments: Sequence[Any]) -> None:
    if not _ears:
        return
    if event in _NAMED:
        port = arguments[1] if len(arguments) > 1 else None
        _note(lambda outbound: outbound.names, arguments[0], port)
    elif event in _CONNECTED and arguments[-1] is not None:
        address = arguments[-1]
        host, port = address[:2] if isinstance(address, tuple) else (address, None)
        _note(lambda outbound: outbound.addresses, host, port)


def _note(kept: Any, host: Any, port: Any) -> None:
    name = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    number = int(port) if str(port).isdigit() else 0
    for outbound in _ears:
        kept(outbound).setdefault((name, number))
