"""Loading scripts where the application is not: in a fresh interpreter that does not find its modules.

This file is also what that interpreter runs, so it imports nothing but Python's own library at first.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType

SECONDS = 120


def complaints(folder: Path, root: Path) -> Mapping[str, str]:
    """By the name of its file, what keeps each script from loading alone; an empty text where nothing does.

    `root` is the project's: no module below it is found, wherever it is installed from.
    """
    finished = subprocess.run(
        [sys.executable, "-I", __file__, str(folder), str(root), *_packages(root)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"the interpreter that loads scripts has failed:\n{finished.stderr}")
    found: dict[str, str] = json.loads(finished.stdout)
    return found


class WithoutApplication:
    """Finds no module of the application, though it may be installed in this environment."""

    def __init__(self, root: Path, packages: Sequence[str]) -> None:
        self.root = root
        self.packages = frozenset(packages)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ModuleNotFoundError for the application's, and leaves all others to who comes next."""
        top = name.partition(".")[0]
        if top == "datamigrate" or top in sys.stdlib_module_names or path is not None:
            return None
        if top in self.packages or self._is_below_root(top):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

    def _is_below_root(self, name: str) -> bool:
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            if (spec := finder.find_spec(name, None)) is not None:
                places = [*(spec.submodule_search_locations or ()), spec.origin or ""]
                return any(self._is_the_projects(Path(place)) for place in places if place)
        return False

    def _is_the_projects(self, place: Path) -> bool:
        return place.is_relative_to(self.root) and "site-packages" not in place.relative_to(self.root).parts


def _packages(root: Path) -> list[str]:
    """The names under which the project itself is installed, when it is not installed from where it is."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text("utf-8")).get("project", {})
        files = distribution(project["name"]).files or ()
    except (OSError, ValueError, KeyError, PackageNotFoundError):
        return []
    tops = {file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py"}
    return sorted(top for top in tops if top.isidentifier() and top != "datamigrate")


def _main(folder: str, root: str, *packages: str) -> None:
    from datamigrate.authoring.loading import load_script, script_files
    from datamigrate.words.errors import ScriptError

    sys.meta_path.insert(0, WithoutApplication(Path(root), packages))
    found: dict[str, str] = {}
    with redirect_stdout(sys.stderr):  # a script may print
        for file in script_files(Path(folder)):
            try:
                load_script(file)
            except ScriptError as error:
                found[file.name] = str(error)
            else:
                found[file.name] = ""
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _main(*sys.argv[1:])
