"""A process that is killed at a step of a test's choosing."""

from __future__ import annotations

from dataclasses import dataclass, field


class Killed(BaseException):
    """Stands for SIGKILL: nobody handles it, and the database is not heard of after it."""


@dataclass
class Killer:
    """Kills the process at its n-th step: before a statement, before a commit, or after one.

    Steps are counted from the statement on that begins with `since`.
    """

    since: str = ""
    at: int = 0
    steps: list[str] = field(default_factory=list)

    def aim(self, at: int) -> None:
        """Begin to count for another process; 0 lets it live."""
        self.at, self.steps = at, []

    def __call__(self, step: str) -> None:
        if self.steps or step.startswith(self.since):
            self.steps.append(step)
        if 0 < self.at <= len(self.steps):
            raise Killed


def only_killed(error: BaseException) -> bool:
    """Whether this is nothing but such a death."""
    if isinstance(error, BaseExceptionGroup):
        return all(only_killed(inner) for inner in error.exceptions)
    return isinstance(error, Killed)
