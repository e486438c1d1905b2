"""Who works on what, and how far."""

from dataclasses import dataclass, replace

from datamigrate.words.migration import Key


@dataclass(frozen=True)
class Owner:
    """One process of one person on one host; `token` tells it from a later one with the same number."""

    user: str
    host: str
    pid: int
    space: str
    token: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.pid}"

    @property
    def identity(self) -> str:
        """The owner as one line that the ledger keeps."""
        return "|".join((self.user, self.host, str(self.pid), self.space, self.token))


def owner_from(identity: str) -> Owner:
    """The owner that `identity` was made of."""
    user, host, pid, space, token = identity.split("|")
    return Owner(user, host, int(pid), space, token)


NOBODY = Owner("nobody", "", 0, "", "")
"""Who owns what is only looked at or tried."""


@dataclass(frozen=True)
class Tally:
    """What has been done so far, in rows and batches."""

    rows: int = 0
    left_alone: int = 0
    batches: int = 0


@dataclass(frozen=True)
class Claim:
    """A range that is ours until somebody with a higher `generation` takes it over.

    `cursor` is the last key done (None: nothing yet), `upper` the last key of this walk (None: not
    fixed yet), `sweep` how often the key space has been walked before. `size` and `span` are the pace to
    go on with; 0 means the usual beginning. `attempts` are the times that the range was claimed since its
    last checkpoint.
    """

    migration: str
    number: int
    generation: int
    owner: Owner
    cursor: Key | None = None
    upper: Key | None = None
    exhausted: bool = False
    sweep: int = 0
    tally: Tally = Tally()
    size: int = 0
    span: int = 0
    attempts: int = 0

    def after(self, cursor: Key | None, exhausted: bool, rows: int, left_alone: int) -> "Claim":
        """The claim after a batch that ended at `cursor`."""
        tally = Tally(self.tally.rows + rows, self.tally.left_alone + left_alone, self.tally.batches + 1)
        return replace(self, cursor=cursor, exhausted=exhausted, tally=tally, attempts=0)


def person(identity: str) -> str:
    """The owner behind an identity as people read it: `user@host:pid`; the text itself if it is none."""
    try:
        return str(owner_from(identity))
    except ValueError:
        return identity
