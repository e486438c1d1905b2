"""`datamigrate init`: at home in a project that has Alembic, overwriting nothing."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from datamigrate.faces.project import Project
from datamigrate.words.errors import ConfigurationError

SECTION = """[tool.datamigrate]
scripts = "datamigrations"
"""

README = """# Data migrations

One script per file, run by `datamigrate run` after `alembic upgrade head`.
`datamigrate new -m "what it does"` writes one.
"""


@dataclass(frozen=True)
class Made:
    """What `init` wrote, and what was there already."""

    written: tuple[Path, ...]
    kept: tuple[Path, ...]


def set_up(project: Project) -> Made:
    """Write the configuration's section and the scripts' folder where they are missing.

    Raises ConfigurationError when pyproject.toml is there and cannot be read.
    """
    written: list[Path] = []
    kept: list[Path] = []
    pyproject = project.root / "pyproject.toml"
    (written if _add_section(pyproject) else kept).append(pyproject)
    readme = project.scripts / "README.md"
    if project.scripts.is_dir():
        kept.append(project.scripts)
    else:
        project.scripts.mkdir(parents=True)
        readme.write_text(README)
        written.append(readme)
    return Made(tuple(written), tuple(kept))


def _add_section(pyproject: Path) -> bool:
    before = pyproject.read_text() if pyproject.exists() else ""
    try:
        tool = tomllib.loads(before).get("tool", {})
    except ValueError as error:
        raise ConfigurationError(f"{pyproject} cannot be read: {error}.", "Mend it first.") from None
    if "datamigrate" in tool:
        return False
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    after = before + gap + SECTION
    tomllib.loads(after)
    pyproject.write_text(after)
    return True
