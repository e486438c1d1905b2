"""Reading the scripts of a project: by path, each in isolation."""

import ast
import inspect
import re
import stat
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from datamigrate.authoring.forms import ComputeRows, DeleteRows, EachBatch, Form, FreeForm, UpdateRows
from datamigrate.authoring.options import OF_A_FREE_FORM, options_from
from datamigrate.authoring.reading import A_SCRIPT
from datamigrate.authoring.script import Library, Script
from datamigrate.authoring.text import Memory, Text, remembering
from datamigrate.words.errors import DatamigrateError, GraphError, Place, ScriptError
from datamigrate.words.migration import Migration, Options

MAX_BYTES = 1_000_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")


def load_scripts(directory: Path) -> Library:
    """All scripts in `directory`, in file order; what cannot be used is among the problems."""
    scripts: list[Script] = []
    problems: list[DatamigrateError] = []
    with remembering(directory) as memory:
        for file in script_files(directory):
            try:
                scripts.append(load_script(file, memory))
            except ScriptError as error:
                problems.append(error)
    duplicates = _duplicate_names(scripts)
    taken = {name for name, _ in duplicates}
    return Library(
        tuple(script for script in scripts if script.name not in taken),
        (*problems, *(problem for _, problem in duplicates)),
    )


def script_files(directory: Path) -> list[Path]:
    """The files that are scripts: `*.py`, apart from those that begin with `_` or `.`."""
    return sorted(f for f in directory.glob("*.py") if f.name[0] not in "_." and not f.is_dir())


def load_script(file: Path, memory: Memory | None = None) -> Script:
    """The script in `file`. Raises ScriptError with file and line."""
    source = _read(file)
    try:
        text = (memory or Memory()).read(source, str(file))
    except ScriptError:
        raise
    except Exception as error:
        raise _at_its_line(error, file) from error
    module = _run_module(file, text.code)
    form = _form(module, text, file)
    return Script(_identity(module, form, text, file), form, _revert(module, text, file))


def _read(file: Path) -> bytes:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ScriptError("This is not a regular file.", "", Place(str(file)))
        if found.st_size > MAX_BYTES:
            raise ScriptError(f"The file is larger than {MAX_BYTES:,} bytes.", "", Place(str(file)))
        return file.read_bytes()
    except OSError as error:
        raise ScriptError(f"The file cannot be read ({error.strerror}).", "", Place(str(file))) from None


def _run_module(file: Path, code: CodeType) -> ModuleType:
    name = f"datamigrate_script_{abs(hash(file))}"
    module = ModuleType(name)
    module.__file__ = str(file)
    # dataclasses and typing look their module up by name while it is being run
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        raise _at_its_line(error, file) from error
    finally:
        del sys.modules[name]
    return module


def _at_its_line(error: BaseException, file: Path) -> ScriptError:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    place = Place(str(file), frames[-1].lineno if frames else None)
    if isinstance(error, ScriptError):
        return ScriptError(error.message, error.hint, place)
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return ScriptError(f"{error.msg}.", A_SCRIPT, Place(str(file), error.lineno))
    if isinstance(error, ImportError):
        hint = (
            "Scripts declare light tables (sa.table) and import nothing from the application, which changes."
        )
        return ScriptError(f"{error}.", hint, place)
    if isinstance(error, SystemExit):
        return ScriptError("It calls sys.exit().", "", place)
    return ScriptError(f"{type(error).__name__}: {error}", "", place)


def _identity(module: ModuleType, form: Form, text: Text, file: Path) -> Migration:
    return Migration(
        name=_name(module, file),
        file=file,
        title=text.title,
        requires=_names(module, "requires", file),
        depends_on=_names(module, "depends_on", file, optional=True),
        until=_names(module, "until", file, optional=True),
        tags=form.tags | frozenset(_names(module, "tags", file, optional=True)),
        kind=form.kind,
        checksum=text.checksum,
        options=form.options,
    )


def _name(module: ModuleType, file: Path) -> str:
    name = getattr(module, "name", None)
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    words = re.sub(r"[^A-Za-z0-9_]+", "_", file.stem)[:100]
    suggestion = re.sub(r"^[^A-Za-z]+", "", words) or "my_migration"
    if name is None:
        raise ScriptError("`name` is missing.", f'Add a line: name = "{suggestion}"', Place(str(file)))
    raise ScriptError(
        f"`name` is {name!r}; it must be a word of letters, digits, `_`, `.` and `-`, 100 characters at most.",
        f'For example: name = "{suggestion}"',
        Place(str(file)),
    )


def _names(module: ModuleType, attribute: str, file: Path, optional: bool = False) -> tuple[str, ...]:
    value: Any = getattr(module, attribute, () if optional else None)
    names = (value,) if isinstance(value, str) else value
    if isinstance(names, Iterable):
        several = tuple(names)
        if all(isinstance(n, str) and n for n in several):
            return several
    if value is None:
        raise ScriptError(
            f"`{attribute}` is missing.",
            f'Name the Alembic revision it needs: {attribute} = "8a6ada1e0883". None at all is {attribute} = ().',
            Place(str(file)),
        )
    raise ScriptError(f"`{attribute}` is {value!r}, not a name or several.", "", Place(str(file)))


def _form(module: ModuleType, text: Text, file: Path) -> Form:
    migrate = getattr(module, "migrate", None)
    if isinstance(migrate, UpdateRows | DeleteRows | ComputeRows | EachBatch):
        if hasattr(module, "remaining"):
            raise ScriptError(
                "`remaining` goes with a free-form migrate only.", "", _line_of("remaining", text, file)
            )
        return migrate
    if migrate is None:
        raise _no_migrate(text, file)
    return _free_form(module, migrate, text, file)


def _free_form(module: ModuleType, migrate: Any, text: Text, file: Path) -> FreeForm:
    remaining = getattr(module, "remaining", None)
    _must_take_a_session("migrate", migrate, text, file)
    if remaining is not None:
        _must_take_a_session("remaining", remaining, text, file)
    if getattr(module, "undo_log", False):
        raise ScriptError(
            "`undo_log` does not go with a free-form migrate: what it changes is not known.",
            "Use update_rows, compute_rows or delete_rows, or write a `revert` beside `migrate`.",
            _line_of("undo_log", text, file),
        )
    return FreeForm(migrate, remaining, _free_options(module, text, file), frozenset())


def _free_options(module: ModuleType, text: Text, file: Path) -> Options:
    said = {name: getattr(module, name) for name in OF_A_FREE_FORM if hasattr(module, name)}
    try:
        return options_from(said)
    except ScriptError as error:
        named = next(name for name in said if f"`{name}`" in error.message)
        raise ScriptError(error.message, error.hint, _line_of(named, text, file)) from None


def _must_take_a_session(label: str, function: Any, text: Text, file: Path) -> None:
    if not inspect.iscoroutinefunction(function):
        what = "is not asynchronous" if callable(function) else f"is {type(function).__name__}"
        raise ScriptError(
            f"`{label}` {what}.",
            f"Write `async def {label}(session)`. {A_SCRIPT}",
            _line_of(label, text, file),
        )
    if len(inspect.signature(function).parameters) != 1:
        raise ScriptError(f"`{label}` must take one parameter, the session.", "", _line_of(label, text, file))


def _revert(module: ModuleType, text: Text, file: Path) -> Form | None:
    revert = getattr(module, "revert", None)
    if revert is None or isinstance(revert, UpdateRows | DeleteRows | ComputeRows | EachBatch):
        return revert
    _must_take_a_session("revert", revert, text, file)
    return FreeForm(revert, None, Options(), frozenset())


def _no_migrate(text: Text, file: Path) -> ScriptError:
    functions = [n for n in text.tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not functions:
        return ScriptError(
            "`migrate` is missing.", "See `datamigrate new --help` for the forms.", Place(str(file))
        )
    return ScriptError(
        f"`migrate` is missing; there is a function {functions[-1].name}.",
        f"Call it `migrate`. {A_SCRIPT}",
        Place(str(file), functions[-1].lineno),
    )


def _line_of(name: str, text: Text, file: Path) -> Place:
    for node in text.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return Place(str(file), node.lineno)
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            return Place(str(file), node.lineno)
    return Place(str(file))


def _duplicate_names(scripts: Iterable[Script]) -> list[tuple[str, GraphError]]:
    files: dict[str, list[Path]] = defaultdict(list)
    for script in scripts:
        files[script.name].append(script.migration.file)
    return [
        (
            name,
            GraphError(f"{' and '.join(map(str, same))} are both named {name!r}.", "Rename the newer one."),
        )
        for name, same in files.items()
        if len(same) > 1
    ]
