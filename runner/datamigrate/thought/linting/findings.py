"""What the linter says of a revision, and what would replace the data work it found."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]

DATA = "data-in-schema-revision"
UNREADABLE = "unreadable-revision"

_VERB = re.compile(r"^[A-Z]+(?: INTO| FROM)?\b")


@dataclass(frozen=True)
class Finding:
    """Something at one place of a revision that a person should look at.

    An error is data work that was seen; a warning is data work that happens where the linter cannot look.
    `actions` are the deeds found there in a few words each, `statements` is how many statements they are,
    `revision` is the revision that the file declares, and `by_row` says that Python does the work row by row.
    """

    code: str
    severity: Severity
    file: str
    line: int
    message: str
    statements: int = 0
    actions: tuple[str, ...] = ()
    revision: str = ""
    by_row: bool = False

    def facts(self) -> dict[str, Any]:
        """The finding as plain data, for JSON."""
        return {
            "code": self.code,
            "severity": self.severity,
            "file": self.file,
            "line": self.line,
            "message": self.message,
            "statements": self.statements,
        }


@dataclass(frozen=True)
class Summary:
    """All findings of one file together: how many statements, what they do, and what would replace them."""

    file: str
    revision: str
    statements: int
    actions: tuple[str, ...]
    by_row: bool = False

    def __str__(self) -> str:
        count = f"{self.statements} data statement{'' if self.statements == 1 else 's'}"
        return f"{count}: {', '.join(self.actions)}" if self.actions else count

    @property
    def command(self) -> str:
        """The `datamigrate new` command that writes the script for this work."""
        words = ["datamigrate", "new", "-m", self._title(), *self._kind()]
        return shlex.join([*words, "--requires", self.revision] if self.revision else words)

    def _title(self) -> str:
        titles = [_lower_verb(action) for action in self.actions[:2]]
        return " and ".join(titles) or "move data work here"

    def _kind(self) -> list[str]:
        verbs = {action.partition(" ")[0] for action in self.actions}
        if verbs == {"UPDATE"}:
            return ["--kind", "compute"] if self.by_row else []
        if verbs and verbs <= {"DELETE", "TRUNCATE"}:
            return ["--kind", "delete"]
        return ["--kind", "free"]


def summary(findings: Iterable[Finding]) -> Summary | None:
    """The data work of one file in one piece; None when there is none."""
    work = [finding for finding in findings if finding.code == DATA]
    if not work:
        return None
    actions = tuple(dict.fromkeys(action for finding in work for action in finding.actions))
    return Summary(
        work[0].file,
        work[0].revision,
        sum(finding.statements for finding in work),
        actions,
        any(finding.by_row for finding in work),
    )


def _lower_verb(action: str) -> str:
    return _VERB.sub(lambda verb: verb.group().lower(), action)
