"""The project's Alembic configuration and revisions, found in the directory of the call or above."""

import contextlib
import os
import tomllib
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from datamigrate.database.schema.quiet import undisturbed
from datamigrate.words.errors import AlembicNotFound, ConfigurationError
from datamigrate.words.secrets import learn


@dataclass(frozen=True)
class AlembicOptions:
    """What Alembic's own command line takes: `-c`, `-n` and `-x`."""

    config: Path | None = None
    section: str = "alembic"
    x: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class History:
    """The project's Alembic revisions."""

    config: Config
    script: ScriptDirectory
    root: Path

    @property
    def heads(self) -> tuple[str, ...]:
        """The newest revisions."""
        return tuple(self.script.get_heads())


def find_history(start: Path, options: AlembicOptions) -> History:
    """The Alembic environment of the project in or above `start`.

    Raises AlembicNotFound, or ConfigurationError for one that cannot be read.
    """
    found = _named_config(start, options) or _config_above(start)
    if found is None:
        raise AlembicNotFound(
            f"No Alembic configuration in {start} or above (looked for -c, ALEMBIC_CONFIG, alembic.ini "
            "and [tool.alembic] in pyproject.toml).",
            "Go to the project's directory, name the file with -c, or begin with `alembic init alembic`.",
        )
    ini, toml, root = found
    _learn_passwords(ini, toml)
    config = Config(
        file_=ini,
        toml_file=toml,
        ini_section=options.section,
        cmd_opts=Namespace(
            x=list(options.x) or None, name=options.section, config=str(ini or toml), raiseerr=False
        ),
    )
    try:
        with contextlib.chdir(root), undisturbed():
            history = History(config, ScriptDirectory.from_config(config), root)
            # loads the revisions, so that a broken one is told here
            _ = history.heads
            _learn_passwords(Path(history.script.env_py_location))
            return history
    except (CommandError, RevisionError) as error:
        raise ConfigurationError(
            f"Alembic cannot read its configuration ({ini or toml}): {error}."
        ) from error
    except Exception as error:
        raise ConfigurationError(
            f"Alembic's revisions cannot be loaded: {type(error).__name__}: {error}."
        ) from error


def _learn_passwords(*files: Path | None) -> None:
    """A URL that stands in one of the project's files is no more to be shown than one that is passed."""
    for file in files:
        if file is not None and file.is_file():
            learn(*file.read_text("utf-8", errors="replace").splitlines())


def _named_config(start: Path, options: AlembicOptions) -> tuple[Path | None, Path | None, Path] | None:
    named = options.config or (Path(os.environ["ALEMBIC_CONFIG"]) if "ALEMBIC_CONFIG" in os.environ else None)
    if named is None:
        return None
    path = (start / named).resolve()
    if not path.is_file():
        raise AlembicNotFound(f"There is no Alembic configuration at {path}.", "Mend -c or ALEMBIC_CONFIG.")
    if path.suffix == ".toml":
        return None, path, path.parent
    beside = start / "pyproject.toml"
    return path, beside if _has_alembic_table(beside) else None, start


def _config_above(start: Path) -> tuple[Path | None, Path | None, Path] | None:
    for directory in (start, *start.parents):
        ini, toml = directory / "alembic.ini", directory / "pyproject.toml"
        has_ini, has_toml = ini.is_file(), _has_alembic_table(toml)
        if has_ini or has_toml:
            return ini if has_ini else None, toml if has_toml else None, directory
    return None


def _has_alembic_table(file: Path) -> bool:
    try:
        return "alembic" in tomllib.loads(file.read_text()).get("tool", {})
    except (OSError, ValueError):
        return False
