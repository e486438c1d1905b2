"""A compute function as one of bare values: the same answers, or there is none."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from datamigrate.authoring.bare import LEFT, Bare, bare_function
from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.loading import load_script
from datamigrate.authoring.row import rows_from
from datamigrate.doing.computing import compute, computed_from
from datamigrate.doing.mapping import BREATH, Amiss, mapped
from datamigrate.words.errors import RowFailed
from unit.samples import HEADER, PENDING, TABLE

READS = (("  Ann ", 1), ("bob", 0), ("", None))

AS_EVER = {
    "an attribute": 'def migrate(row):\n    return {"new": row.old.strip()}',
    "an item": 'def migrate(row):\n    return {"new": row["old"] * 2}',
    "statements": """
def migrate(row):
    '''What it does.'''
    old = row.old.strip()
    for letter in old:
        old += letter.upper()
    return {"new": old}
""",
    "some are left alone": """
def migrate(row):
    if not row.old:
        return None
    if row.id:
        return {"new": f"{row.old}/{row.id}"}
""",
    "a choice": 'def migrate(row):\n    return {"new": row.old} if row.id else None',
    "names within names": """
def migrate(row):
    return {"new": "".join(sorted(c for c in row.old if c.isalpha() and (lambda x: x != row.id)(c)))}
""",
    "an error that is caught": """
def migrate(row):
    try:
        return {"new": str(1 // row.id)}
    except (TypeError, ZeroDivisionError) as error:
        return {"new": type(error).__name__}
""",
    "a helper of the script": """
def tidy(text):
    return text.strip().lower()


def migrate(row):
    return {"new": tidy(row.old)}
""",
    "local names like those of columns": """
def migrate(row):
    old = id = row.old + "!"
    return {"new": old + id + row.old}
""",
    "asynchronous, and waits for nothing": 'async def migrate(row):\n    return {"new": row.old.upper()}',
    "with types": 'def migrate(row: "Any") -> "dict[str, str]":\n    new: str = row.old\n    return {"new": new}',
}

NONE = {
    "the row goes elsewhere": 'def migrate(row):\n    return {"new": str(row)}',
    "another name for the row": 'def migrate(row):\n    r = row\n    return {"new": r.old}',
    "a column that is not read": 'def migrate(row):\n    return {"new": row.email}',
    "an item by place": 'def migrate(row):\n    return {"new": row[0]}',
    "an attribute that is set": 'def migrate(row):\n    row.old = "x"\n    return {"new": row.old}',
    "another row inside": 'def migrate(row):\n    return {"new": "".join(row for row in row.old)}',
    "another row in a lambda": 'def migrate(row):\n    return {"new": (lambda row: "")(1)}',
    "an error called row": """
def migrate(row):
    try:
        return {"new": row.old}
    except ValueError as row:
        return None
""",
    "a mapping made before": 'def migrate(row):\n    new = {"new": row.old}\n    return new',
    "another key": 'def migrate(row):\n    return {"old": row.old}',
    "more than one key": 'def migrate(row):\n    return {"new": row.old, "more": 1}',
    "no mapping": "def migrate(row):\n    return row.old",
    "a function inside": """
def migrate(row):
    def new():
        return row.old
    return {"new": new()}
""",
    "names looked for": 'def migrate(row):\n    return {"new": str(locals()) + row.old}',
    "it waits": 'import asyncio\n\n\nasync def migrate(row):\n    await asyncio.sleep(0)\n    return {"new": row.old}',
    "names looked for by another name": 'names = locals\n\n\ndef migrate(row):\n    return {"new": str(names()) + row.old}',
    "lambdas in lambdas without end": f"""
def migrate(row):
    {"x = " + "lambda: " * 90}1
    return {{"new": row.old}}
""",
    "a key of bytes": 'def migrate(row):\n    return {b"new": row.old}',
    "a coroutine that asks for its loop": """
import asyncio


async def migrate(row):
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return {"new": row.old}
    return {"new": row.old.strip()}
""",
    "a coroutine that looks at its thread": """
import threading

here = threading.local()


async def migrate(row):
    return {"new": row.old + getattr(here, "sign", "")}
""",
    "it waits in a comprehension": """
async def some():
    yield "x"


async def migrate(row):
    return {"new": "".join([x async for x in some()]) + row.old}
""",
    "any number of rows": 'def migrate(*row):\n    return {"new": row[0].old}',
    "a function made elsewhere": """
def made(sign):
    def function(row):
        return {"new": row.old + sign}
    return function


migrate = made("!")
""",
    "a function that another wraps": """
from functools import cache, wraps


def loud(function):
    @wraps(function)
    def louder(row):
        return {"new": row.old.upper()}
    return louder


@loud
def migrate(row):
    return {"new": row.old}
""",
}


def written(folder: Path, function: str) -> Path:
    before, _, migrate = (
        f"\n{function.strip()}\n".rpartition("\n\n\n") if "\n\n\n" in function else ("", "", function)
    )
    call = f"@compute_rows(users, {PENDING}, reads=[users.c.old, users.c.id], writes=[users.c.new])"
    if migrate.strip().startswith("migrate ="):
        decorated = f"{before}\n\n\n{migrate.strip().replace('= ', f'= {call[1:]}(', 1)})"
    else:
        decorated = f"{before}\n\n\n{call}\n{migrate.strip()}"
    (file := folder / "job.py").write_text(f"{HEADER}{TABLE}{decorated}\n")
    return file


def form_of(file: Path) -> ComputeRows:
    form = load_script(file).form
    assert isinstance(form, ComputeRows)
    return form


def answer(function: Callable[[], Any]) -> object:
    """What it returns, or the kind of error that it raises."""
    try:
        result = function()
        return asyncio.run(result) if asyncio.iscoroutine(result) else result
    except Exception as error:
        return type(error)


def answer_of(bare: Bare, values: tuple[object, ...]) -> object:
    """The same, in the words of a function of a row."""
    result = answer(lambda: bare(*values))
    if result is LEFT:
        return None
    return result if isinstance(result, type) else {"new": result}


@pytest.mark.parametrize("what", AS_EVER)
def test_a_function_that_only_reads_columns_answers_the_same_without_a_row(tmp_path: Path, what: str) -> None:
    form = form_of(written(tmp_path, AS_EVER[what]))
    bare = bare_function(form)
    assert bare is not None
    for values in READS:
        (row,) = rows_from(form, [values])
        assert answer_of(bare, values) == answer(partial(form.function, row))


# what a function makes of a row, when no other one does
AMISS = {
    "it raises": "raise ValueError(row.old)",
    "it ends a loop that it is not in": "raise StopIteration",
    "it would end the process": "raise SystemExit(3)",
}


async def outcome(form: ComputeRows, rows: int, bare: Bare | None) -> object:
    """What is to be written, and what is left alone; or what is said."""
    raw = [(i, f"version {i}", *READS[i % len(READS)]) for i in range(rows)]
    try:
        if bare is None:
            computed = await compute(form, 1, 1, raw, Path("script.py"))
        else:
            columns = list(zip(*raw, strict=True))
            answers = await mapped(bare, columns[2:], asyncio.iscoroutinefunction(form.function))
            computed = computed_from(form, 1, 1, columns, answers, 0.0)
    except RowFailed as error:
        return error.message, error.hint, error.key
    return computed.columns, computed.left_alone


@pytest.mark.anyio
@pytest.mark.parametrize("rows", [1, 2, 3 * BREATH - 1])
@pytest.mark.parametrize("what", AS_EVER)
async def test_the_rows_of_a_batch_are_computed_by_it_as_by_the_function_itself(
    tmp_path: Path, what: str, rows: int
) -> None:
    form = form_of(written(tmp_path, AS_EVER[what]))
    assert await outcome(form, rows, bare_function(form)) == await outcome(form, rows, None)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["", "async "], ids=["function", "coroutine"])
@pytest.mark.parametrize("what", AMISS)
async def test_it_has_no_answers_when_something_is_amiss_at_one_row(
    tmp_path: Path, what: str, kind: str
) -> None:
    text = f'{kind}def migrate(row):\n    if row.id is None:\n        {AMISS[what]}\n    return {{"new": row.old}}'
    form = form_of(written(tmp_path, text))
    bare = bare_function(form)
    assert bare is not None
    await outcome(form, 2, bare)
    with pytest.raises(Amiss):
        await outcome(form, 2 * BREATH, bare)


@pytest.mark.anyio
async def test_an_answer_that_its_column_does_not_take_is_told_as_ever(tmp_path: Path) -> None:
    text = 'def migrate(row):\n    return {"new": row.id if row.id == 0 else row.old}'
    form = form_of(written(tmp_path, text))
    assert await outcome(form, 2, bare_function(form)) == await outcome(form, 2, None)


@pytest.mark.parametrize("what", NONE)
def test_one_that_does_more_is_called_with_its_row(tmp_path: Path, what: str) -> None:
    assert bare_function(form_of(written(tmp_path, NONE[what]))) is None


@pytest.mark.parametrize(("read", "is_bare"), [("row.__len__", False), ('row["__len__"]', True)])
def test_a_column_called_like_what_python_has_for_itself_is_an_item_only(
    tmp_path: Path, read: str, is_bare: bool
) -> None:
    file = written(tmp_path, f'def migrate(row):\n    return {{"new": {read}}}')
    text = file.read_text().replace('sa.column("old", sa.Text)', 'sa.column("__len__", sa.Text)')
    file.write_text(text.replace("reads=[users.c.old, users.c.id]", 'reads=[users.c["__len__"]]'))
    assert (bare_function(form_of(file)) is not None) is is_bare


def test_an_error_in_it_is_told_with_the_line_of_the_script(tmp_path: Path) -> None:
    file = written(tmp_path, 'def migrate(row):\n    old = row.old\n    return {"new": old + row.id}')
    bare = bare_function(form_of(file))
    assert bare is not None
    with pytest.raises(TypeError) as caught:
        bare("x", 1)
    [*_, frame] = traceback.extract_tb(caught.value.__traceback__)
    assert (frame.filename, frame.name, frame.line) == (str(file), "migrate", 'return {"new": old + row.id}')


def test_a_script_that_was_edited_since_it_was_loaded_is_not_read_anew(tmp_path: Path) -> None:
    file = written(tmp_path, AS_EVER["an attribute"])
    form = form_of(file)
    file.write_text(file.read_text().replace("strip", "upper"))
    assert bare_function(form) is None


def test_a_script_that_became_too_much_for_python_is_no_error(tmp_path: Path) -> None:
    file = written(tmp_path, AS_EVER["an attribute"])
    form = form_of(file)
    file.write_text(f"{file.read_text()}\nx = {'-' * 100_000}1\n")
    assert bare_function(form) is None


def test_what_a_script_takes_from_the_future_holds_in_it_too(tmp_path: Path) -> None:
    flags = 'def migrate(row):\n    return {"new": compile("1", "", "eval").co_flags}'
    file = written(tmp_path, flags)
    now = form_of(file).function(None)
    file.write_text(f"from __future__ import annotations\n{file.read_text()}")
    form = form_of(file)
    bare = bare_function(form)
    assert bare is not None
    assert {"new": bare("", 0)} == form.function(None) != now


def test_a_script_that_is_gone_is_no_error(tmp_path: Path) -> None:
    file = written(tmp_path, AS_EVER["an attribute"])
    form = form_of(file)
    file.unlink()
    assert bare_function(form) is None
