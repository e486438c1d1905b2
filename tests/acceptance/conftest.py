"""The projects that the acceptance tests are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from databases import ScratchDatabase
from projects import Project, project_in


@pytest.fixture
def project(tmp_path: Path, database: ScratchDatabase) -> Project:
    """A project with its schema at head, once on each kind of database; its tables are empty."""
    project = project_in(tmp_path / "project", database)
    project.upgrade()
    return project


@pytest.fixture
def sqlite_project(tmp_path: Path, sqlite_database: ScratchDatabase) -> Project:
    """A project with its schema at head on SQLite, for what no database has a part in."""
    project = project_in(tmp_path / "project", sqlite_database)
    project.upgrade()
    return project


@pytest.fixture
def postgres_project(tmp_path: Path, postgres_database: ScratchDatabase) -> Project:
    """A project with its schema at head on PostgreSQL, for what only it can show."""
    project = project_in(tmp_path / "project", postgres_database)
    project.upgrade()
    return project
