"""The default tests: what every data migration must stand, whatever it does."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from datamigrate.authoring.forms import FreeForm, RowsForm
from datamigrate.authoring.loading import load_script
from datamigrate.authoring.script import Script
from datamigrate.database.ledger.tables import PREFIX
from datamigrate.database.schema.revisions import resolve
from datamigrate.faces.project import Project
from datamigrate.testing import interpreter, proofs
from datamigrate.testing.dumping import schema_of
from datamigrate.testing.telling import NotProven, not_proven
from datamigrate.testing.trial import Trial
from datamigrate.testing.watching import key_writes, watch_keys
from datamigrate.words.errors import GraphError, KeyUnfit, ScriptError

ROWS = 5
"""Made up for a default test: enough for two batches."""


@dataclass(frozen=True, eq=False)
class Case:
    """One script: its file, the project, and how to put it on trial with rows of the author's or made up."""

    file: Path
    project: Project
    data_migration: Callable[..., Trial]
    rows: Mapping[str, Any]

    @property
    def script(self) -> Script:
        """As it is loaded; a test of what it does is skipped where it is not."""
        try:
            return load_script(self.file)
        except ScriptError as error:
            pytest.skip(f"it cannot be loaded, see test_imports_alone: {error.message}")

    def trial(self) -> Trial:
        """With an empty database."""
        return self.data_migration(self.script.name)

    def filled(self) -> Trial:
        """With rows."""
        trial = self.trial()
        given = self.rows.get(trial.name)
        if callable(given):
            given(trial)
        elif given is not None:
            trial.fill(given)
        else:
            return Trial(trial.stage.populated(ROWS))
        return trial


def test_imports_alone(datamigrate_case: Case) -> None:
    """A script must load when the application has long changed."""
    if complaint := _alone(datamigrate_case.project)[datamigrate_case.file.name]:
        raise NotProven(f"{datamigrate_case.file.name} does not load by itself.\n\n{complaint}")


def test_required_revisions_exist(datamigrate_case: Case) -> None:
    """What `requires`, `until` and `depends_on` name must be there."""
    script, project = datamigrate_case.script, datamigrate_case.project
    resolve(project.history.script, script.migration)
    known = {migration.name for migration in project.library().migrations}
    if missing := [name for name in script.migration.depends_on if name not in known]:
        raise GraphError(f"{script.name} depends on {missing[0]}, which no script has for its name.")


def test_works_on_an_empty_table(datamigrate_case: Case) -> None:
    """A fresh installation has nothing to migrate."""
    trial = datamigrate_case.trial()
    if changed := proofs.done(trial.stage).changes:
        raise not_proven(
            f"{trial.name} changed rows of an empty database.",
            "Let it change rows that are there, and insert none where there are none.",
            changed,
        )


def test_idempotent(datamigrate_case: Case) -> None:
    """Done twice it is as done once."""
    datamigrate_case.filled().assert_idempotent()


def test_resumable(datamigrate_case: Case) -> None:
    """Killed anywhere and resumed, it ends as if undisturbed."""
    datamigrate_case.filled().assert_resumable()


def test_changes_no_schema(datamigrate_case: Case) -> None:
    """The schema is Alembic's."""
    trial = datamigrate_case.filled()
    before = set(trial.stage.on(schema_of))
    proofs.done(trial.stage)
    if changed := sorted(filter(_is_theirs, before ^ set(trial.stage.on(schema_of))), key=repr):
        raise NotProven(
            f"{trial.name} changes the schema: {', '.join(str(part) for part in changed[0] if part)}\n\n"
            'What to change: move that into an Alembic revision, `alembic revision -m "..."`.'
        )


def test_never_writes_its_key(datamigrate_case: Case) -> None:
    """A row whose key changes would be met twice, or never."""
    trial = datamigrate_case.filled()
    stage = trial.stage
    stage.prepare()
    keys = _keys(stage.script, stage.tables)
    stage.on(lambda connection: watch_keys(connection, stage.tables, keys))
    proofs.done(stage)
    if moved := stage.on(key_writes):
        raise not_proven(
            f"{trial.name} writes the key of rows: the walk would meet them twice, or never.",
            "Walk by another unique key, or insert rows under the new key and delete the old ones.",
            moved,
        )


def test_has_an_index_under_its_key(datamigrate_case: Case) -> None:
    """Without one every batch would read the whole table."""
    trial = datamigrate_case.trial()
    form, stage = trial.stage.script.form, trial.stage
    if not isinstance(form, RowsForm):
        return
    proofs.done(stage)  # says what is wrong with the table or its key
    table = stage.tables[form.table.fullname]
    key = tuple(c.name for c in form.key) if form.key else tuple(c.name for c in table.primary_key)
    if not any(columns[: len(key)] == key for columns in _indexed(table)):
        raise KeyUnfit(
            f"{trial.name}: no index of {table.fullname} begins with its key ({', '.join(key)}): every batch "
            "would read the whole table.",
            f"In an Alembic revision: op.create_index(None, {table.name!r}, {list(key)!r}, unique=True)",
        )


DEFAULT_TESTS: tuple[Callable[[Case], None], ...] = (
    test_imports_alone,
    test_required_revisions_exist,
    test_works_on_an_empty_table,
    test_idempotent,
    test_resumable,
    test_changes_no_schema,
    test_never_writes_its_key,
    test_has_an_index_under_its_key,
)


@functools.lru_cache(maxsize=8)
def _alone(project: Project) -> Mapping[str, str]:
    return interpreter.complaints(project.scripts, project.root)


def _keys(script: Script, tables: Mapping[str, sa.Table]) -> dict[str, tuple[str, ...]]:
    """Of every table its primary key; of the one that is walked, the key by which that is done."""
    keys = {name: tuple(c.name for c in table.primary_key) for name, table in tables.items()}
    form = script.form
    if not isinstance(form, FreeForm) and form.key:
        keys[form.table.fullname] = tuple(column.name for column in form.key)
    return {name: columns for name, columns in keys.items() if columns}


def _indexed(table: sa.Table) -> list[tuple[str, ...]]:
    unique = [c for c in table.constraints if isinstance(c, sa.UniqueConstraint)]
    groups: list[Any] = [table.primary_key, *unique, *table.indexes]
    return [tuple(column.name for column in group.columns) for group in groups]


def _is_theirs(entry: tuple[Any, ...]) -> bool:
    return not any(PREFIX in str(part) for part in entry)
