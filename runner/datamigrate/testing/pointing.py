"""Leading the project's own env.py to a scratch database, and making sure that it goes there."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from datamigrate.database.address import Address, address
from datamigrate.database.schema.environment import ask_env
from datamigrate.database.schema.history import History
from datamigrate.testing.scratch import Scratch, address_of
from datamigrate.testing.waiting import waited
from datamigrate.words.errors import ConfigurationError, DatamigrateError

PointAt = Callable[[str], Any]
"""A project's own way to have env.py connect to a URL, if environment and configuration do not do it."""


@dataclass(eq=False)
class Pointer:
    """How this project's env.py is told where to connect: by these `variables` of the environment, by
    `sqlalchemy.url` of Alembic's configuration, and by whatever `point_at` does besides. What it told of
    where Alembic keeps its versions is in `version_tables`."""

    history: History
    variables: tuple[str, ...]
    point_at: PointAt
    version_tables: set[str] = field(default_factory=set, init=False)
    _form: int | None = field(default=None, init=False)

    @contextmanager
    def at(self, scratch: Scratch, makes_sure: bool = False) -> Iterator[None]:
        """Within this, env.py connects to the scratch database and to no other.

        Who lets env.py write there `makes_sure` of that first. Raises ConfigurationError when it goes
        elsewhere.
        """
        if self._form is None:
            self._form = self._form_that_works(scratch)
        with self._at(scratch.urls[self._form]):
            if makes_sure:
                self._refuse_another(scratch)
            yield

    def _form_that_works(self, scratch: Scratch) -> int:
        complaints: list[DatamigrateError] = []
        for number, url in enumerate(scratch.urls):
            with self._at(url):
                try:
                    self._refuse_another(scratch)
                except DatamigrateError as error:
                    complaints.append(error)
                else:
                    return number
        # a driver that env.py cannot use is worth less than the news that it goes elsewhere
        raise next((c for c in complaints if isinstance(c, _Elsewhere)), complaints[0])

    def _refuse_another(self, scratch: Scratch) -> None:
        told = waited(ask_env(self.history))
        found = address(told.url, "env.py", self.history.root)
        if not found.is_same_database(address_of(scratch)):
            raise _Elsewhere(found, self.variables)
        schema = f"{told.version_table_schema}." if told.version_table_schema else ""
        self.version_tables.add(schema + told.version_table)

    @contextmanager
    def _at(self, url: str) -> Iterator[None]:
        config = self.history.config
        before = config.get_section_option(config.config_ini_section, "sqlalchemy.url")
        with _environment(dict.fromkeys((*self.variables, "DATAMIGRATE_URL"), url)):
            self._set(url)
            self.point_at(url)
            try:
                yield
            finally:
                self._set(before)

    def _set(self, url: str | None) -> None:
        config = self.history.config
        if url is None:
            config.file_config.remove_option(config.config_ini_section, "sqlalchemy.url")
        else:
            config.set_section_option(config.config_ini_section, "sqlalchemy.url", url.replace("%", "%%"))


class _Elsewhere(ConfigurationError):
    """Let env.py take its URL from where the pointer puts it."""

    def __init__(self, found: Address, variables: tuple[str, ...]) -> None:
        super().__init__(
            f"The project's env.py goes to {found}, not to the scratch database. Nothing was done there.",
            f"It is told where to go by {', '.join(variables)} in the environment and by sqlalchemy.url. "
            "Name the variable that it reads in pytest's configuration (datamigrate_variables = ...), or "
            "define a fixture datamigrate_point_at that returns a function of the URL.",
        )


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
