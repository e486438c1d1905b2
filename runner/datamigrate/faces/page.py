"""A dry run as one page of HTML that stands alone: for a reviewer, beside the change it belongs to."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mako.template import Template

import datamigrate
from datamigrate.doing.previewing import Preview
from datamigrate.doing.rehearsal import Rehearsal
from datamigrate.faces.previewing import way_gone
from datamigrate.faces.rehearsing import HIDDEN, NOT_UNDONE, findings
from datamigrate.faces.situation import Situation
from datamigrate.words.duration import human_duration
from datamigrate.words.errors import UsageError
from datamigrate.words.migration import Migration

LONGEST = 400
"""Characters of a value that are shown."""

_LOUD = re.compile(r"[A-Z]{3,}\b")


@dataclass(frozen=True)
class Line:
    """One column of one row; `after` is None for a row that is deleted. A `faint` value stands for none."""

    key: str
    column: str
    before: "Shown"
    after: "Shown | None"


@dataclass(frozen=True)
class Shown:
    """A value as text."""

    text: str
    faint: bool = False


@dataclass(frozen=True)
class Cost:
    """How long it takes, within which band, in how many batches of up to how many rows."""

    expected: str
    band: str
    batches: int
    rows: int


@dataclass(frozen=True)
class Remark:
    """A sentence, code to copy, or a sentence that must not be overlooked."""

    text: str
    kind: str


@dataclass(frozen=True)
class Tried:
    """One migration on the page: `facts` are those of the JSON, `remarks` the sentences of the terminal."""

    migration: Migration
    facts: Mapping[str, Any]
    remarks: tuple[Remark, ...]
    is_refused: bool
    is_ahead: bool

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """What a reviewer looks for first, each with its tone."""
        facts = self.facts
        found = [
            ("would fail", "bad", facts["error"]),
            ("not idempotent", "bad", facts["idempotent"] is False),
            ("reaches outside", "warn", facts.get("sockets")),
            ("slow", "bad" if self.is_refused else "warn", facts["slow"]),
            ("cut off by the time limit", "warn", facts["cut_off"]),
            ("only read", "warn", facts["only_read"]),
        ]
        said = [(text, tone) for text, tone, holds in found if holds]
        said = said or [("refused", "bad") if self.is_refused else ("fine", "good")]
        return said + ([("previewed ahead of its turn", "plain")] if self.is_ahead else [])

    @property
    def cost(self) -> "Cost | None":
        """What a run of it will take."""
        found = self.facts.get("cost")
        if not found:
            return None
        low, expected, high = (human_duration(found["total_seconds"][n]) for n in ("low", "expected", "high"))
        return Cost(expected, f"{low} to {high}", found["batches_to_come"], found["batch_rows"])

    @property
    def failures(self) -> Sequence[Mapping[str, Any]]:
        """Batches that would fail, each with its row."""
        found: Sequence[Mapping[str, Any]] = self.facts.get("failures", ())
        return found

    def lines(self, sample: Mapping[str, Any]) -> Iterator[Line]:
        """The rows of a sample, a line for each column that changes."""
        for change in sample["changes"]:
            before, after = change["before"], change["after"]
            if not before:
                yield Line(change["key"], "", Shown("unchanged", faint=True), Shown("", faint=True))
            for column, value in before.items():
                yield Line(
                    change["key"], column, shown(value), None if after is None else shown(after[column])
                )


def shown(value: Any) -> Shown:
    """A value as a reader can take it in."""
    if value is None or value == "" or value == HIDDEN:
        return Shown("NULL" if value is None else value or "(empty)", faint=True)
    text = str(value)
    return Shown(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def write_page(
    file: Path,
    facts: Mapping[str, Any],
    situation: Situation,
    rehearsals: Sequence[Rehearsal],
    preview: Preview,
    refused: Collection[str],
) -> None:
    """Write the page; `facts` are those of the JSON. Raises UsageError where the file cannot be written."""
    ahead = {rehearsal.name for rehearsal in preview.rehearsals}
    tried = [
        Tried(
            situation.script(rehearsal.name).migration,
            one,
            _remarks(findings(rehearsal)),
            rehearsal.name in refused,
            rehearsal.name in ahead,
        )
        for rehearsal, one in zip(rehearsals, facts["rehearsals"], strict=True)
    ]
    text = page(facts, tried, situation, _remarks(way_gone(preview)), datetime.now(UTC))
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}.", "Name another file.") from error


def page(
    facts: Mapping[str, Any],
    tried: Sequence[Tried],
    situation: Situation,
    remarks: Sequence[Remark],
    now: datetime,
) -> str:
    """The page: everything in it is escaped, and it asks for nothing from anywhere."""
    return str(
        _template().render(
            facts=facts,
            tried=tried,
            titles={step.migration.name: step.migration.title for step in situation.plan.steps},
            remarks=remarks,
            shown=shown,
            not_undone=NOT_UNDONE,
            database=situation.whereabouts.address,
            now=now,
            version=datamigrate.__version__,
        )
    )


def _remarks(sentences: Sequence[str]) -> tuple[Remark, ...]:
    """The sentences of the terminal, told apart by how they begin."""
    return tuple(Remark(sentence.strip(), _kind(sentence)) for sentence in sentences)


def _kind(sentence: str) -> str:
    if sentence.startswith("  "):
        return "code"
    return "loud" if _LOUD.match(sentence) else "plain"


@cache
def _template() -> Template:
    text = resources.files(__package__).joinpath("page.mako").read_text("utf-8")
    return Template(text, default_filters=["str", "h"], strict_undefined=True)
