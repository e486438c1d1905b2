"""The project as Alembic's own commands meet it: found from Alembic's configuration, without a URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from datamigrate.authoring.loading import load_scripts
from datamigrate.authoring.script import Library
from datamigrate.database.ledger.tables import Tables, ledger_tables, schema_on
from datamigrate.faces.config import read_configuration
from datamigrate.words.errors import DatamigrateError

_KEY = "datamigrate.beside"


@dataclass(frozen=True, eq=False)
class Beside:
    """The scripts and the ledger's tables of the project whose Alembic command is running."""

    library: Library
    tables: Tables


@contextmanager
def in_alembics_words() -> Iterator[None]:
    """Our errors as Alembic's, which its command line prints without a traceback."""
    try:
        yield
    except DatamigrateError as error:
        raise CommandError(" ".join(str(error).split("\n"))) from error


def beside(context: MigrationContext) -> Beside:
    """Found once for each Alembic command. Without a folder of scripts there are simply none."""
    environment = context.environment_context
    config = environment.config if environment is not None else Config()
    if _KEY not in config.attributes:
        config.attributes[_KEY] = _find(config, context.dialect.name)
    found: Beside = config.attributes[_KEY]
    return found


def _find(config: Config, dialect: str) -> Beside:
    starts = [Path(f).resolve().parent for f in (config.config_file_name, _toml(config)) if f]
    for start in (*starts, Path.cwd()):
        configuration = read_configuration(start)
        folder = (configuration.root or start) / configuration.scripts
        if configuration.root is not None or folder.is_dir():
            library = load_scripts(folder) if folder.is_dir() else Library(())
            return Beside(library, ledger_tables(schema_on(dialect, configuration.schema)))
    return Beside(Library(()), ledger_tables())


def _toml(config: Config) -> str | None:
    # absent before Alembic 1.16
    return getattr(config, "toml_file_name", None)
