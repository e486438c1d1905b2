"""Exit codes of the command, a contract with deploy jobs and schedulers."""

from enum import IntEnum


class Exit(IntEnum):
    """What the process tells its caller."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PENDING = 3
    BLOCKED = 4
    HELD = 5
    QUARANTINED = 6
    STOPPED = 75
    INTERRUPTED = 130
