"""Who we are, and whether another process of this host is still there."""

import getpass
import os
import secrets
import socket
from dataclasses import replace
from pathlib import Path

from datamigrate.words.claim import Owner, owner_from


def this_process() -> Owner:
    """This process, told apart from every other that has been or will be."""
    return Owner(_user(), socket.gethostname(), os.getpid(), _process_space(), secrets.token_hex(4))


def worker_of(process: Owner, number: int) -> Owner:
    """One of the workers of a process; the first one is the process itself."""
    return process if number == 0 else replace(process, token=f"{process.token}-{number}")


def is_same_process(identity: str, me: Owner) -> bool:
    """Whether this owner is a worker of our own process."""
    try:
        return _without_worker(owner_from(identity)) == _without_worker(me)
    except ValueError:
        return False


def _without_worker(owner: Owner) -> Owner:
    return replace(owner, token=owner.token.partition("-")[0])


def is_gone(identity: str, me: Owner) -> bool:
    """True when this owner was a process of our own host that is no more.

    Of another host, or another container, nobody can say; there the claim's expiry decides.
    """
    try:
        other = owner_from(identity)
    except ValueError:
        return False
    if (other.host, other.space) != (me.host, me.space) or is_same_process(identity, me):
        return False
    if other.pid == me.pid:  # that was its number before it was ours
        return True
    try:
        os.kill(other.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _user() -> str:
    try:
        return getpass.getuser().replace("|", "_")
    except (KeyError, OSError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _process_space() -> str:
    # two containers may share a host name, and number their processes alike
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot[:8]}-{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "-"
