"""Everything that can go wrong, as one tree.

DatamigrateError
├── UsageError                 the command line asks for something impossible
│   ├── ConfigurationError     pyproject.toml, alembic.ini or the environment
│   │   ├── AlembicNotFound    no Alembic configuration here or above
│   │   └── DatabaseNotNamed   no database URL anywhere
│   └── UnknownMigration       a name that no script and no ledger row has
├── ScriptError                a script cannot be used as it is written
├── GraphError                 requires or depends_on do not fit together
├── SchemaError                the schema is not what the script expects
│   ├── RevisionUnknown        the database is at a revision these files do not have
│   ├── NotAllowed             the role lacks a right, or does not see what is in a schema
│   └── KeyUnfit               the key cannot be walked safely
├── TooSlow                    every batch would read or sort a large table
├── DatabaseUnavailable        the database does not answer, or refuses us
│   ├── DatabaseMissing        there is no such SQLite file
│   ├── DatabaseBusy           somebody else has locked it for longer than we wait
│   └── ConnectionLost         it was there, and has gone in the middle of a command
├── LedgerTooNew               a newer datamigrate has been here
├── LifecycleError             the verb makes no sense in the migration's state
├── NoWayBack                  nothing was kept of what it changed, and its script cannot undo it
├── ClaimHeld                  somebody else works on it
├── Halted                     an operator has paused or cancelled it, or not approved it yet
├── Fenced                     our claim was taken over while we worked
├── Cut                        the end of our range was given to another worker
├── GivenUp                    a stop was asked for while a step was to be tried again
├── BatchFailed                a batch failed for a reason that repeating cannot mend
│   ├── StillPending           rows that the script wrote are pending all the same
│   ├── RowFailed              a row is at fault, or one in a batch that was worked on as a whole
│   └── TooManyQuarantined     more rows fail than may be set aside
├── KeepsComing                the application writes pending rows faster than they are swept
└── Interrupted                a second Ctrl-C rolled the batch back
"""

from dataclasses import dataclass

from datamigrate.words.exits import Exit
from datamigrate.words.migration import Key
from datamigrate.words.secrets import redacted


class DatamigrateError(Exception):
    """What happened, in one or two sentences; `hint` is what to do or run next. Neither repeats a password."""

    exit: Exit = Exit.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = redacted(message)
        self.hint = redacted(hint)
        super().__init__(self.message)

    def facts(self) -> dict[str, str]:
        """The error as plain data, for JSON."""
        return {"error": type(self).__name__, "message": self.message, "hint": self.hint}

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(DatamigrateError):
    """Read `datamigrate VERB --help` and call again."""

    exit = Exit.USAGE


class ConfigurationError(UsageError):
    """Mend the file or variable that the message names."""


class AlembicNotFound(ConfigurationError):
    """Go to the project's directory, or point at its Alembic configuration with `-c`."""


class DatabaseNotNamed(ConfigurationError):
    """Set DATABASE_URL, or pass `--url`."""


class UnknownMigration(UsageError):
    """Run `datamigrate list` for the names there are."""


@dataclass(frozen=True)
class Place:
    """A line in a file that a person can open."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class ScriptError(DatamigrateError):
    """Edit the script at the place named."""

    def __init__(self, message: str, hint: str = "", place: Place | None = None) -> None:
        super().__init__(f"{place}: {message}" if place else message, hint)
        self.place = place


class GraphError(DatamigrateError):
    """Mend `requires` or `depends_on` in the scripts named."""


class SchemaError(DatamigrateError):
    """Compare the script's table with the database's."""


class RevisionUnknown(SchemaError):
    """Check out the code that the database was upgraded with, or stamp a known revision."""

    exit = Exit.BLOCKED


class NotAllowed(SchemaError):
    """Have the right granted that the message names."""


class KeyUnfit(SchemaError):
    """Choose a key that is unique, not null and ordered one way by everyone."""


class TooSlow(DatamigrateError):
    """Create the index that the message names, or run with --allow-slow."""


class DatabaseUnavailable(DatamigrateError):
    """Start the database, or mend the URL."""


class DatabaseBusy(DatabaseUnavailable):
    """End what reads or writes there, or let it end."""


class ConnectionLost(DatabaseUnavailable):
    """Look at `datamigrate status`, then call again: what was not committed was rolled back."""


class DatabaseMissing(DatabaseUnavailable):
    """Create it with `alembic upgrade head` or `datamigrate upgrade`, or mend the URL."""

    def __init__(self, message: str, hint: str, place: Place) -> None:
        super().__init__(message, hint)
        self.place = place


class LedgerTooNew(DatamigrateError):
    """Upgrade datamigrate on this host to the version that upgraded the ledger."""


class LifecycleError(DatamigrateError):
    """Look at `datamigrate status`, then choose a verb that fits the state."""

    exit = Exit.USAGE


class NoWayBack(DatamigrateError):
    """Write a `revert` in the script."""

    exit = Exit.USAGE


class ClaimHeld(DatamigrateError):
    """Wait for the other run, or leave it to it."""

    exit = Exit.HELD


class Halted(DatamigrateError):
    """Say the word that it waits for: resume, approve or retry."""

    exit = Exit.BLOCKED


class Fenced(DatamigrateError):
    """Nothing to do: the batch was rolled back, and the new owner does it."""

    exit = Exit.HELD


class Cut(DatamigrateError):
    """Nothing to do: the batch was rolled back, and a smaller one takes its place."""

    exit = Exit.HELD


class GivenUp(DatamigrateError):
    """Run again to go on: what was under way is done then, or found done."""

    exit = Exit.STOPPED


class BatchFailed(DatamigrateError):
    """Mend the script or the rows named, then `datamigrate run` goes on where it stopped.

    `key` is that of the one row that failed, where that is known.
    """

    def __init__(self, message: str, hint: str = "", key: Key | None = None) -> None:
        super().__init__(message, hint)
        self.key = key


class StillPending(BatchFailed):
    """Let the script write values that its own `pending` no longer selects."""


class RowFailed(BatchFailed):
    """Mend the row or the script; or let the script set such rows aside: on_row_error="quarantine"."""


class TooManyQuarantined(BatchFailed):
    """Mend what these rows have in common, then `datamigrate retry NAME --quarantined`."""


class KeepsComing(DatamigrateError):
    """Deploy the application version that writes the new form, then run again."""


class Interrupted(DatamigrateError):
    """Run again to go on: everything before the interrupted batch is kept."""

    exit = Exit.INTERRUPTED
