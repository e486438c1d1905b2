"""The default tests in pytest's tree: `datamigrations/20261122_1004_populate_full_name.py::test_resumable`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from datamigrate.authoring.loading import script_files
from datamigrate.faces.config import read_configuration
from datamigrate.testing.defaults import DEFAULT_TESTS
from datamigrate.words.errors import DatamigrateError


class Collecting:
    """Finds a project's scripts where pytest looks for tests."""

    def __init__(self, config: pytest.Config) -> None:
        start = (config.rootpath / str(config.getini("datamigrate_project"))).resolve()
        configuration = read_configuration(start)
        self.folder = (configuration.root or start) / configuration.scripts

    def join(self, config: pytest.Config) -> None:
        """Have the scripts' folder looked at beside `testpaths`; who names what to test gets that alone."""
        wanted = config.args_source is pytest.Config.ArgsSource.TESTPATHS
        if wanted and self.folder.is_dir() and str(self.folder) not in config.args:
            config.args.append(str(self.folder))

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """A script is a file of tests."""
        if not self._is_script(file_path):
            return None
        return ScriptFile.from_parent(parent, path=file_path)

    def pytest_pycollect_makemodule(
        self, module_path: Path, parent: pytest.Collector
    ) -> pytest.Module | None:
        """A script is no module of tests, even where pytest would take it for one."""
        return NoTests.from_parent(parent, path=module_path) if self._is_script(module_path) else None

    def _is_script(self, path: Path) -> bool:
        return path.parent == self.folder and path in script_files(self.folder)


class ScriptFile(pytest.Module):
    """A script, with an item for each default test. It is not imported to be collected."""

    def _getobj(self) -> ModuleType:
        return ModuleType(self.path.stem)

    def collect(self) -> Iterator[pytest.Item]:
        """One item each."""
        for test in DEFAULT_TESTS:
            yield ScriptItem.from_parent(self, name=test.__name__, callobj=test)


class NoTests(pytest.Module):
    """What pytest makes of a script by itself."""

    def collect(self) -> list[pytest.Item]:
        """Nothing."""
        return []


class ScriptItem(pytest.Function):
    """One default test of one script."""

    def reportinfo(self) -> tuple[Path, int, str]:
        """The script, not the test's own source."""
        return self.path, 0, f"{self.path.stem}: {self.name.removeprefix('test_')}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any, **__: Any) -> Any:
        """What has gone wrong with the script; where in our own code that was found is nobody's concern."""
        if isinstance(excinfo.value, AssertionError | DatamigrateError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)
