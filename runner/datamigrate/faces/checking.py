"""`datamigrate check`: what would go wrong later, found now; the gate for CI."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from alembic.script.revision import RevisionError
from alembic.util import CommandError

from datamigrate.database.schema.history import History
from datamigrate.database.schema.upgrade import all_revisions
from datamigrate.faces.app import Application
from datamigrate.faces.project import Project
from datamigrate.faces.situation import Situation, from_scratch, unplaced
from datamigrate.thought.gates import gates_in
from datamigrate.thought.interleaving import interleave
from datamigrate.thought.linting.findings import Finding, Severity, Summary, summary
from datamigrate.thought.linting.lint import lint_revision
from datamigrate.thought.planner import Action
from datamigrate.words.errors import (
    ConfigurationError,
    DatamigrateError,
    GraphError,
    Place,
    ScriptError,
    UsageError,
)


@dataclass(frozen=True)
class Checked:
    """All findings, and for each revision with data work what would replace it."""

    findings: tuple[Finding, ...]
    summaries: tuple[Summary, ...] = ()

    @property
    def has_errors(self) -> bool:
        """Whether anything found is more than a warning."""
        return any(finding.severity == "error" for finding in self.findings)


async def check(application: Application, offline: bool) -> Checked:
    """Everything that can be said of scripts, gates and revisions; with the database also of drift, keys and
    columns. Raises what keeps the database from being asked."""
    project = application.project
    history, since = project.history, project.configuration.lint_since
    situation = unplaced(project) if offline else await application.situation()
    problems = list(situation.problems)
    if not offline:
        problems += await application.unfit(situation)
    found = [_of_problem(problem, _place_of(problem, project, situation)) for problem in problems]
    found += _gates(history, situation)
    if not offline:
        found += _drifted(situation)
    linted = lint_files(_revision_files(history, since))
    return Checked((*found, *linted.findings), linted.summaries)


def lint_folder(folder: Path) -> Checked:
    """The revisions in a folder that belongs to no project here. Raises UsageError when there is none."""
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", "Name a folder of revision files.")
    return lint_files(sorted(folder.rglob("*.py")))


def lint_files(files: Iterable[Path]) -> Checked:
    """The data work in these revisions."""
    findings: list[Finding] = []
    summaries: list[Summary] = []
    for file in files:
        here = lint_revision(file.read_text("utf-8", errors="replace"), _shown(file))
        findings += here
        if (said := summary(here)) is not None:
            summaries.append(said)
    return Checked(tuple(findings), tuple(summaries))


def _revision_files(history: History, since: str | None) -> list[Path]:
    settled: set[str] = set()
    if since is not None:
        try:
            below = list(history.script.iterate_revisions(since, "base", implicit_base=True))
        except (CommandError, RevisionError) as error:
            raise ConfigurationError(
                f"[tool.datamigrate] lint_since = {since!r} names no revision: {error}",
                "Name the newest revision that is to be left in peace, from `alembic history`.",
            ) from None
        settled = {r.revision for r in below}
    revisions = [r for r in history.script.walk_revisions() if r.revision not in settled]
    return [Path(r.path) for r in reversed(revisions)]


def _gates(history: History, situation: Situation) -> list[Finding]:
    revisions = {r.revision: r for r in history.script.walk_revisions()}
    gates = {id: gates_in(Path(r.path).read_bytes()) for id, r in revisions.items()}
    found = [
        _finding(
            "gate-not-first",
            "op.require_data must come first in upgrade(): what stands before it is applied "
            "even when the gate is shut (on SQLite for good)",
            _shown(Path(revisions[id].path)),
            gate.line,
        )
        for id, here in gates.items()
        for gate in here
        if not gate.is_first
    ]
    try:
        interleave(
            all_revisions(history),
            frozenset(),
            from_scratch(history, situation),
            situation.revisions,
            frozenset(situation.ledger.migrations),
        )
    except GraphError as error:
        at = next((id for id, here in gates.items() if here and id in error.message), None)
        place = Place(revisions[at].path, gates[at][0].line) if at else None
        found.append(_of_problem(error, place))
    return found


def _drifted(situation: Situation) -> list[Finding]:
    return [
        _finding(
            "drifted",
            f"{step.migration.name}: {step.reason}.",
            _shown(step.migration.file),
        )
        for step in situation.plan.having(Action.DRIFTED)
    ]


def _of_problem(problem: DatamigrateError, place: Place | None) -> Finding:
    message = problem.message.removeprefix(f"{place}: ")
    return _finding(
        _CODES.get(type(problem).__name__, "problem"),
        f"{message} {problem.hint}".strip(),
        _shown(Path(place.file)) if place else "",
        place.line or 1 if place else 1,
    )


def _place_of(problem: DatamigrateError, project: Project, situation: Situation) -> Place | None:
    """Where to mend it: the place it names, or the script that it speaks of."""
    if isinstance(problem, ScriptError) and problem.place:
        return problem.place
    named = [s.migration.file for s in situation.library.scripts if problem.message.startswith(f"{s.name}: ")]
    files = [*named, *(f for f in sorted(project.scripts.rglob("*.py")) if str(f) in problem.message)]
    return Place(str(files[0])) if files else None


_CODES = {
    "ScriptError": "broken-script",
    "GraphError": "broken-graph",
    "SchemaError": "unfit-schema",
    "KeyUnfit": "unfit-key",
}


def _finding(code: str, message: str, file: str, line: int = 1, severity: Severity = "error") -> Finding:
    return Finding(code, severity, file, line, message)


def _shown(file: Path) -> str:
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)


def as_text(checked: Checked) -> Sequence[str]:
    """A line for each finding, then what would replace the data work."""
    lines = [f"{f.file or '-'}:{f.line}: {f.severity} {f.code}: {f.message}" for f in checked.findings]
    return [*lines, *(f"{s.file}: {s}. Instead: {s.command}" for s in checked.summaries)]


def as_github(checked: Checked) -> Sequence[str]:
    """Workflow commands that GitHub shows beside the lines."""
    return [
        f"::{f.severity} file={f.file},line={f.line},title={f.code}::{_escaped(f.message)}"
        for f in checked.findings
    ]


def _escaped(message: str) -> str:
    # https://docs.github.com/actions/using-workflows/workflow-commands-for-github-actions
    return message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
