"""The pytest plugin, as far as every project meets it: options and fixtures, and nothing that takes time.

What the fixtures need is imported when they are asked for, so that pytest starts as quickly in a project
that has datamigrate installed and tests none of its scripts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from datamigrate.testing.defaults import Case
    from datamigrate.testing.pointing import PointAt
    from datamigrate.testing.stage import Grounds
    from datamigrate.testing.trial import Trial

URL_VARIABLE = "DATAMIGRATE_TEST_URL"
BATCH_SIZE = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    """What can be said on the command line and in pytest's configuration."""
    group = parser.getgroup("datamigrate", "data migrations")
    group.addoption(
        "--test-datamigrations",
        action="store_true",
        help="collect the default tests of every data migration (datamigrate_tests = true does so always)",
    )
    group.addoption(
        "--datamigrate-url",
        metavar="URL",
        help="a PostgreSQL server on which scratch databases may be created and dropped "
        f"[default: {URL_VARIABLE}, datamigrate_url; else SQLite files]",
    )
    parser.addini("datamigrate_tests", "Collect the default tests of every data migration.", "bool", False)
    parser.addini("datamigrate_url", "A PostgreSQL server for scratch databases, instead of SQLite files.")
    parser.addini("datamigrate_project", "The directory of the project, from pytest's root.", default=".")
    parser.addini(
        "datamigrate_variables",
        "The variables from which the project's env.py takes its URL.",
        "args",
        ["DATABASE_URL"],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect scripts, if that is wanted."""
    if config.getini("datamigrate_tests") or config.getoption("test_datamigrations"):
        from datamigrate.testing.collecting import Collecting

        collecting = Collecting(config)
        collecting.join(config)
        config.pluginmanager.register(collecting, "datamigrate-default-tests")


@pytest.fixture(scope="session")
def datamigrate_url(pytestconfig: pytest.Config) -> str | None:
    """The PostgreSQL server on which scratch databases may be made; None is SQLite. Override it to give one
    of your own."""
    given = pytestconfig.getoption("datamigrate_url") or os.environ.get(URL_VARIABLE)
    return given or pytestconfig.getini("datamigrate_url") or None


@pytest.fixture
def datamigrate_point_at() -> PointAt:
    """A function that is called with the URL of a scratch database before env.py runs. Override it where
    env.py takes its URL from neither a variable of the environment nor sqlalchemy.url."""
    return lambda _url: None


@pytest.fixture
def datamigrate_rows() -> Mapping[str, Any]:
    """Rows for the default tests, by the name of the script: tables with their rows, or a function of the
    trial that inserts some. Override it for scripts whose rows cannot be made up."""
    return {}


@pytest.fixture(scope="session")
def _datamigrate_workshops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str | None], Any]]:
    from datamigrate.testing.scratch import Workshop

    workshops: dict[str | None, Workshop] = {}

    def workshop_on(url: str | None) -> Workshop:
        if url not in workshops:
            workshops[url] = Workshop(tmp_path_factory.mktemp("datamigrate"), url)
        return workshops[url]

    yield workshop_on
    for workshop in workshops.values():
        workshop.close()


@pytest.fixture
def _datamigrate_grounds(
    pytestconfig: pytest.Config,
    datamigrate_url: str | None,
    datamigrate_point_at: PointAt,
    _datamigrate_workshops: Callable[[str | None], Any],
) -> Grounds:
    from datamigrate.testing.pointing import Pointer
    from datamigrate.testing.stage import Grounds

    project, workshop = _project(pytestconfig), _datamigrate_workshops(datamigrate_url)
    variables = tuple(pytestconfig.getini("datamigrate_variables"))
    return Grounds(project, workshop, Pointer(project.history, variables, datamigrate_point_at))


@pytest.fixture
def data_migration(_datamigrate_grounds: Grounds) -> Callable[..., Trial]:
    """`data_migration("populate_full_name")` is that data migration on trial, with a scratch database of its
    own whose schema is at the revisions it requires. `batch_size` is in rows."""
    from datamigrate.testing.trial import Trial

    def on_trial(name: str, *, batch_size: int = BATCH_SIZE) -> Trial:
        return Trial(_datamigrate_grounds.stage(name, batch_size))

    return on_trial


@pytest.fixture
def datamigrate_case(
    request: pytest.FixtureRequest,
    pytestconfig: pytest.Config,
    data_migration: Callable[..., Trial],
    datamigrate_rows: Mapping[str, Any],
) -> Case:
    """What a default test is about: one script, and how to put it on trial."""
    from datamigrate.testing.defaults import Case

    return Case(request.node.path, _project(pytestconfig), data_migration, datamigrate_rows)


def _project(config: pytest.Config) -> Any:
    from datamigrate.faces.project import Call, find_project

    if _PROJECT not in config.stash:
        start = config.rootpath / str(config.getini("datamigrate_project"))
        config.stash[_PROJECT] = find_project(Call(start.resolve()))
    return config.stash[_PROJECT]


_PROJECT = pytest.StashKey[Any]()
