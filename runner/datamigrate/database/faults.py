"""What an error from the database means for the batch that met it."""

from enum import Enum


class Fault(Enum):
    """Whether trying again can help, and how."""

    PASSING = "try again"
    """A deadlock, a serialization failure, too many connections."""
    LOCKED = "try again for the lock"
    """Somebody else holds a lock, and it was not to be had in time."""
    LOST = "connect again, look, then try again"
    """The connection is gone, and with it the answer to a commit that may have been under way."""
    TIMEOUT = "try again with less"
    """The database cut the statement off for taking too long."""
    LASTING = "trying again cannot help"
    """A constraint, a type, a missing column: the script or the data must change."""


def said_by(error: BaseException) -> str:
    """What the database, or the driver, says of an error: one line, without the driver's class, which SQLAlchemy's
    asyncpg adapter puts before it."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rpartition(">: ")[2]
