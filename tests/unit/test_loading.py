"""Reading scripts: good ones of every form, and bad ones told with file, line and what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamigrate.authoring.forms import ComputeRows, DeleteRows, EachBatch, FreeForm, UpdateRows
from datamigrate.authoring.loading import MAX_BYTES, load_script, load_scripts, script_files
from datamigrate.words.errors import GraphError, ScriptError
from unit.samples import FREE, HEADER, PENDING, TABLE, loaded, refused, written

FORM = HEADER + TABLE
VALUES = "values={users.c.new: users.c.old}"
UPDATE = f"{FORM}\nmigrate = update_rows(users, {PENDING}, {VALUES})\n"
DELETE = f"{FORM}\nmigrate = delete_rows(users, {PENDING})\n"
COMPUTE = f"""{FORM}
@compute_rows(users, {PENDING}, reads=[users.c.old], writes=[users.c.new])
def migrate(row):
    return {{"new": row.old}}
"""
BATCH = f"""{FORM}
@each_batch(users, {PENDING})
async def migrate(batch):
    ...
"""

# Nearly everything is wrong with it; it is how such scripts are often sketched.
SKETCH = '''# In migration file - schema only
def upgrade():
    op.add_column('users', sa.Column('full_name', sa.String(255)))

# Separate data migration script (run after schema migration)
def migrate_user_names():
    """Populate full_name from first_name and last_name."""
    from src.db import get_db_session

    async with get_db_session() as session:
        users = await session.execute("SELECT id, first_name, last_name FROM users")
        for user in users:
            full_name = f"{user.first_name} {user.last_name}".strip()
            await session.execute(
                "UPDATE users SET full_name = :name WHERE id = :id",
                {"name": full_name, "id": user.id}
            )
'''


# good scripts


@pytest.mark.parametrize(
    ("text", "kind", "form"),
    [
        (UPDATE, "update", UpdateRows),
        (DELETE, "delete", DeleteRows),
        (COMPUTE, "compute", ComputeRows),
        (BATCH, "batch", EachBatch),
        (FREE, "free", FreeForm),
    ],
)
def test_a_script_of_every_form_is_loaded(tmp_path: Path, text: str, kind: str, form: type) -> None:
    script = loaded(tmp_path, text)
    assert isinstance(script.form, form)
    assert script.migration.kind == kind
    assert script.name == "sample"
    assert script.revert is None


def test_everything_a_script_says_of_itself_is_kept(tmp_path: Path) -> None:
    script = loaded(
        tmp_path,
        '"""Fill the new column.\n\nMore is said here.\n"""\n'
        'name = "fill-the.new_1"\nrequires = ("r1", "r2")\ndepends_on = ["a", "b"]\nuntil = "r9"\n'
        f'tags = "slow"\n{TABLE}'
        f"migrate = update_rows(users, {PENDING}, {VALUES}, batch_size=7, tags=['nightly'])\n",
    )
    migration = script.migration
    assert migration.title == "Fill the new column."
    assert (migration.name, migration.file) == ("fill-the.new_1", tmp_path / "20261122_1004_sample.py")
    assert (migration.requires, migration.until) == (("r1", "r2"), ("r9",))
    assert migration.depends_on == ("a", "b")
    assert migration.tags == {"slow", "nightly"}
    assert migration.options.batch_size == 7
    assert len(migration.checksum) == 16


def test_a_free_form_script_says_its_options_at_its_top(tmp_path: Path) -> None:
    assert loaded(tmp_path, "hold = True\n" + FREE).migration.options.hold is True


def test_an_option_at_the_top_of_a_free_form_that_makes_no_sense_is_told_with_its_line(
    tmp_path: Path,
) -> None:
    with pytest.raises(ScriptError, match=r"sample\.py:1: `hold` is 'yes'"):
        loaded(tmp_path, "hold = 'yes'\n" + FREE)


def test_what_a_script_is_can_be_told_as_plain_data(tmp_path: Path) -> None:
    assert loaded(tmp_path, FREE).migration.facts() == {
        "name": "sample",
        "file": str(tmp_path / "20261122_1004_sample.py"),
        "title": "",
        "kind": "free",
        "requires": ["8a6ada1e0883"],
        "until": [],
        "depends_on": [],
        "tags": [],
        "checksum": loaded(tmp_path, FREE).migration.checksum,
    }


def test_a_script_may_require_no_revision(tmp_path: Path) -> None:
    text = FREE.replace('"8a6ada1e0883"', "()")
    assert loaded(tmp_path, text).migration.requires == ()


def test_names_may_be_annotated(tmp_path: Path) -> None:
    text = 'name: str = "sample"\nrequires: tuple[str, ...] = ("r1",)\n' + FREE.removeprefix(HEADER)
    assert loaded(tmp_path, text).migration.requires == ("r1",)


def test_a_free_script_may_count_what_remains(tmp_path: Path) -> None:
    script = loaded(tmp_path, f"{FREE}\nasync def remaining(session):\n    return 0\n")
    assert isinstance(script.form, FreeForm)
    assert script.form.remaining is not None


@pytest.mark.parametrize(
    ("revert", "form"),
    [
        (f"{TABLE}revert = delete_rows(users, {PENDING})", DeleteRows),
        ("async def revert(session): ...", FreeForm),
    ],
)
def test_a_script_may_say_how_it_is_reverted(tmp_path: Path, revert: str, form: type) -> None:
    assert isinstance(loaded(tmp_path, f"{FREE}\n{revert}\n").revert, form)


def test_a_script_may_use_dataclasses_and_postponed_annotations(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        f"@dataclass\nclass Pair:\n    left: Pair | None\n{FREE}"
    )
    assert loaded(tmp_path, text).name == "sample"


def test_a_script_leaves_nothing_among_the_modules(tmp_path: Path) -> None:
    before = set(sys.modules)
    loaded(tmp_path, FREE)
    refused(tmp_path, f"{FREE}\n1 / 0\n")
    assert not {name for name in set(sys.modules) - before if "script" in name}


def test_a_script_leaves_no_compiled_file_behind(tmp_path: Path) -> None:
    loaded(tmp_path, FREE)
    assert [file.name for file in tmp_path.iterdir()] == ["20261122_1004_sample.py"]


def test_the_same_text_in_another_file_means_the_same(tmp_path: Path) -> None:
    one, other = (load_script(written(tmp_path, FREE, name)) for name in ("one.py", "other.py"))
    assert one.migration.checksum == other.migration.checksum


# the sketch


def test_the_usual_sketch_is_refused_with_its_line_and_what_to_write_instead(tmp_path: Path) -> None:
    error = refused(tmp_path, SKETCH)
    assert error.place is not None
    assert error.place.line == 11
    assert "does not execute a plain string" in error.message
    assert "sa.text(" in error.hint


def test_mended_step_by_step_the_usual_sketch_is_told_what_else_is_wrong(tmp_path: Path) -> None:
    text = SKETCH.replace('execute("SELECT', 'execute(sa.text("SELECT').replace('users")', 'users"))')
    error = refused(tmp_path, text)
    assert (error.place and error.place.line, "plain string" in error.message) == (14, True)

    text = text.replace('"UPDATE users SET full_name = :name WHERE id = :id"', "sa.text('UPDATE users ...')")
    error = refused(tmp_path, text)
    assert "'async with' outside async function" in error.message
    assert "async def migrate(session)" in error.hint

    text = text.replace("def migrate_user_names", "async def migrate_user_names")
    error = refused(tmp_path, text)
    assert "`migrate` is missing; there is a function migrate_user_names" in error.message
    assert "nothing imported from the application" in error.hint

    text = text.replace("migrate_user_names", "migrate")
    assert "must take one parameter, the session" in refused(tmp_path, text).message

    text = text.replace("migrate()", "migrate(session)")
    error = refused(tmp_path, text)
    assert "`requires` is missing" in error.message or "`name` is missing" in error.message


# names


def test_a_missing_name_is_suggested_from_the_file(tmp_path: Path) -> None:
    error = refused(tmp_path, FREE.replace('name = "sample"\n', ""))
    assert "`name` is missing" in error.message
    assert error.hint == 'Add a line: name = "sample"'


@pytest.mark.parametrize(
    "file", ["20261122_1004.py", "0001-fix.py", "2026 größe & co.py", "7.py", f"{'x' * 200}.py", "a.b.py"]
)
def test_a_suggested_name_is_a_good_one(tmp_path: Path, file: str) -> None:
    nameless = FREE.replace('name = "sample"\n', "")
    with pytest.raises(ScriptError) as caught:
        load_script(written(tmp_path, nameless, file))
    suggested = caught.value.hint.removeprefix("Add a line: ")
    assert load_script(written(tmp_path, f"{suggested}\n{nameless}", file))


@pytest.mark.parametrize(
    "name",
    ["''", "'with blank'", "'1st'", "'_a'", "'a/b'", "'a\\n'", "'é'", "'x' * 101", "42", "b'a'", "('a',)"],
)
def test_a_name_that_is_no_word_is_refused(tmp_path: Path, name: str) -> None:
    error = refused(tmp_path, FREE.replace('"sample"', name))
    assert "`name` is " in error.message
    assert 'name = "sample"' in error.hint


def test_missing_requires_says_how_to_require_nothing(tmp_path: Path) -> None:
    error = refused(tmp_path, FREE.replace('requires = "8a6ada1e0883"\n', ""))
    assert "`requires` is missing" in error.message
    assert "requires = ()" in error.hint


@pytest.mark.parametrize("value", ["42", '""', '("a", "")', '("a", 1)', "b'ab'", "object()", "[None]"])
@pytest.mark.parametrize("attribute", ["requires", "depends_on", "until", "tags"])
def test_what_is_no_name_nor_several_is_refused(tmp_path: Path, attribute: str, value: str) -> None:
    error = refused(tmp_path, f"{FREE}\n{attribute} = {value}\n")
    assert f"`{attribute}` is " in error.message


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ('depend_on = "a"', "depends_on"),
        ('depends_no = "a"', "depends_on"),
        ('dependson: str = "a"', "depends_on"),
        ("untill = 'a'", "until"),
        ("tag = 'a'", "tags"),
    ],
)
def test_a_misspelt_attribute_is_told_from_one_that_is_meant(
    tmp_path: Path, misspelt: str, meant: str
) -> None:
    error = refused(tmp_path, f"{FREE}\n{misspelt}\n")
    assert "has no meaning here" in error.message
    assert error.hint == f"Did you mean `{meant}`?"
    assert error.place is not None
    assert error.place.line == FREE.count("\n") + 2


def test_a_misspelt_requires_is_told_too(tmp_path: Path) -> None:
    error = refused(tmp_path, FREE.replace("requires", "require"))
    assert error.hint == "Did you mean `requires`?"
    assert error.place is not None
    assert error.place.line == 2


@pytest.mark.parametrize(
    "line", ["names = ['a']", "migrated = 0", "requires_ssl = 1", "until_when = 2", "x = 1"]
)
def test_a_variable_of_the_authors_own_is_let_be(tmp_path: Path, line: str) -> None:
    text = f'{FREE}\nuntil = "r9"\ndepends_on = ()\n{line}\n'
    assert loaded(tmp_path, text)


# migrate


def test_a_script_without_any_function_is_missing_its_migrate(tmp_path: Path) -> None:
    error = refused(tmp_path, HEADER)
    assert "`migrate` is missing." in error.message
    assert error.hint


def test_a_function_of_another_name_is_told_with_its_line(tmp_path: Path) -> None:
    error = refused(tmp_path, f"{HEADER}\nasync def main(session): ...\n")
    assert "there is a function main" in error.message
    assert "Call it `migrate`" in error.hint
    assert error.place is not None
    assert error.place.line == 4


@pytest.mark.parametrize("label", ["migrate", "remaining", "revert"])
def test_a_function_that_is_not_asynchronous_is_refused(tmp_path: Path, label: str) -> None:
    text = FREE if label != "migrate" else HEADER
    error = refused(tmp_path, f"{text}\ndef {label}(session): ...\n")
    assert f"`{label}` is not asynchronous" in error.message
    assert f"async def {label}(session)" in error.hint
    assert error.place is not None
    assert error.place.line == text.count("\n") + 2


@pytest.mark.parametrize("label", ["migrate", "remaining", "revert"])
def test_something_that_is_no_function_is_refused(tmp_path: Path, label: str) -> None:
    text = FREE if label != "migrate" else HEADER
    error = refused(tmp_path, f"{text}\n{label} = 42\n")
    assert f"`{label}` is int" in error.message


@pytest.mark.parametrize("label", ["migrate", "remaining", "revert"])
@pytest.mark.parametrize("parameters", ["", "session, batch"])
def test_a_function_with_other_parameters_is_refused(tmp_path: Path, label: str, parameters: str) -> None:
    text = FREE if label != "migrate" else HEADER
    error = refused(tmp_path, f"{text}\nasync def {label}({parameters}): ...\n")
    assert f"`{label}` must take one parameter" in error.message


def test_only_a_free_form_may_count_what_remains(tmp_path: Path) -> None:
    error = refused(tmp_path, f"{UPDATE}\nasync def remaining(session): ...\n")
    assert "goes with a free-form migrate only" in error.message
    assert error.place is not None
    assert error.place.line == UPDATE.count("\n") + 2


def test_what_a_form_refuses_is_told_at_its_line(tmp_path: Path) -> None:
    error = refused(tmp_path, UPDATE.replace("users.c.new: users.c.old", ""))
    assert "`values` is empty" in error.message
    assert error.hint
    assert error.place is not None
    assert error.place.line == UPDATE[: UPDATE.index("\nmigrate")].count("\n") + 2


# what the text shows


@pytest.mark.parametrize("call", ["execute", "scalar", "scalars", "stream"])
@pytest.mark.parametrize("text", ["'SELECT 1'", "f'SELECT {1}'"])
def test_a_plain_string_to_execute_is_refused_before_anything_runs(
    tmp_path: Path, call: str, text: str
) -> None:
    error = refused(tmp_path, FREE.replace("...", f"await session.{call}({text})"))
    assert "plain string" in error.message
    assert error.place is not None
    assert error.place.line == 5


def test_text_to_execute_is_let_be(tmp_path: Path) -> None:
    assert loaded(
        tmp_path, "import sqlalchemy as sa\n" + FREE.replace("...", "session.execute(sa.text('x'))")
    )


def test_a_commit_of_its_own_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, FREE.replace("...", "await session.commit()"))
    assert "commits on its own (session.commit())" in error.message
    assert "runner commits" in error.hint
    assert error.place is not None
    assert error.place.line == 5


def test_a_savepoint_of_its_own_may_be_committed(tmp_path: Path) -> None:
    body = "point = await session.begin_nested()\n    await point.commit()"
    assert loaded(tmp_path, FREE.replace("...", body))


# what happens when it runs


def test_an_import_of_the_application_is_refused_with_a_word_of_why(tmp_path: Path) -> None:
    error = refused(tmp_path, f"{HEADER}from src.db import get_db_session\n")
    assert "src" in error.message
    assert "sa.table" in error.hint
    assert error.place is not None
    assert error.place.line == 3


def test_an_error_while_it_is_read_is_told_with_its_line(tmp_path: Path) -> None:
    error = refused(tmp_path, f"{FREE}\n1 / 0\n")
    assert "ZeroDivisionError" in error.message
    assert error.place is not None
    assert error.place.line == 7


@pytest.mark.parametrize("leave", ["sys.exit(3)", "exit()", "raise SystemExit"])
def test_a_script_cannot_end_the_program(tmp_path: Path, leave: str) -> None:
    error = refused(tmp_path, f"import sys\n{FREE}\n{leave}\n")
    assert "sys.exit()" in error.message
    assert error.place is not None
    assert error.place.line == 8


def test_ctrl_c_while_a_script_is_read_is_still_ctrl_c(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        loaded(tmp_path, f"{FREE}\nraise KeyboardInterrupt\n")


# what is no script at all


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a b", 1),
        ("\n\nif True:\nx = 1", 4),
        ("x = (1,\n", 1),
        ("x = '", 1),
        ("\nreturn 1", 2),
        ("\n\nawait x", 3),
        ("def f():\n  async with x: ...", 2),
        ("(" * 300, 1),
        (b"x = '\xff'", 1),
    ],
)
def test_what_python_cannot_read_is_told_with_its_line(tmp_path: Path, text: str | bytes, line: int) -> None:
    error = refused(tmp_path, text)
    assert "async def migrate(session)" in error.hint
    assert error.place is not None
    assert error.place.line == line


@pytest.mark.parametrize(
    "text", [b"a\0b", b"# coding: nonsense\n", b"\xff\xfe\x00", b"\x80abc", "x = " + "-" * 9000 + "1"]
)
def test_what_is_no_text_is_refused(tmp_path: Path, text: str | bytes) -> None:
    assert str(tmp_path) in refused(tmp_path, text).message


@pytest.mark.parametrize("depth", [150, 700, 950, 1500, 2900, 5000])
def test_deep_nesting_is_read_or_refused(tmp_path: Path, depth: int) -> None:
    written(tmp_path, f"{FREE}\nx = {'1+' * depth}1\n")
    library = load_scripts(tmp_path)
    assert len(library.scripts) + len(library.problems) == 1


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    error = refused(tmp_path, b"#" * (MAX_BYTES + 1))
    assert "larger than 1,000,000 bytes" in error.message


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "`migrate` is missing" in refused(tmp_path, b"").message


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_script_or_refused(tmp_path: Path, content: bytes) -> None:
    written(tmp_path, content)
    library = load_scripts(tmp_path)
    assert len(library.scripts) + len(library.problems) == 1


lines = st.lists(
    st.sampled_from(
        ["name = 'a'", "requires = ()", "requires = 4", "async def migrate(s): ...", "def migrate(): ...",
         "migrate = 1", "remaining = 2", "tags = None", "until = {}", "revert = print", "x = migrate", "pass",
         "  y", "import nowhere", "'''", "raise ValueError", "del name"]
    ),
    max_size=6,
)  # fmt: skip


@given(lines)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_lines_are_a_script_or_refused(tmp_path: Path, content: list[str]) -> None:
    written(tmp_path, "\n".join(content))
    library = load_scripts(tmp_path)
    assert len(library.scripts) + len(library.problems) == 1


# a directory of them


def test_scripts_are_loaded_in_file_order(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        written(tmp_path, FREE.replace("sample", name), f"{name}.py")
    library = load_scripts(tmp_path)
    assert [m.name for m in library.migrations] == ["a", "b", "c"]
    assert library.problems == ()


def test_a_script_is_found_by_its_name(tmp_path: Path) -> None:
    written(tmp_path, FREE)
    library = load_scripts(tmp_path)
    assert library.named("sample") is library.scripts[0]
    assert library.named("nobody") is None


def test_a_broken_script_does_not_hide_the_others(tmp_path: Path) -> None:
    written(tmp_path, FREE, "good.py")
    written(tmp_path, "a b", "broken.py")
    written(tmp_path, "import nowhere", "worse.py")
    library = load_scripts(tmp_path)
    assert [s.name for s in library.scripts] == ["sample"]
    assert ["broken.py" in str(library.problems[0]), "worse.py" in str(library.problems[1])] == [True, True]


def test_a_name_taken_twice_is_a_problem_of_both_and_of_no_other(tmp_path: Path) -> None:
    for file in ("one.py", "two.py"):
        written(tmp_path, FREE, file)
    written(tmp_path, FREE.replace("sample", "other"), "three.py")
    library = load_scripts(tmp_path)
    assert [s.name for s in library.scripts] == ["other"]
    (problem,) = library.problems
    assert isinstance(problem, GraphError)
    assert "one.py" in problem.message
    assert "two.py" in problem.message
    assert "'sample'" in problem.message


def test_a_directory_that_is_not_there_has_no_scripts(tmp_path: Path) -> None:
    assert load_scripts(tmp_path / "nowhere").scripts == ()


def test_only_python_files_that_are_not_hidden_are_scripts(tmp_path: Path) -> None:
    for name in ("a.py", "_helper.py", "__init__.py", ".hidden.py", "README.md", "a.pyc", "b.PY.txt"):
        written(tmp_path, FREE, name)
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "below").mkdir()
    written(tmp_path / "below", FREE)
    assert [file.name for file in script_files(tmp_path)] == ["a.py"]


def test_a_link_to_a_script_is_a_script(tmp_path: Path) -> None:
    target = written(tmp_path, FREE, "target.txt")
    (tmp_path / "link.py").symlink_to(target)
    assert [s.name for s in load_scripts(tmp_path).scripts] == ["sample"]


def test_a_dangling_link_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to(tmp_path / "nowhere")
    (problem,) = load_scripts(tmp_path).problems
    assert "cannot be read (No such file" in problem.message


def test_a_link_to_a_directory_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.py").symlink_to(tmp_path / "folder")
    assert script_files(tmp_path) == []


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (problem,) = load_scripts(tmp_path).problems
    assert "not a regular file" in problem.message


def test_a_link_to_itself_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    [problem] = load_scripts(tmp_path).problems
    assert "loop.py" in problem.message


def test_scripts_that_import_each_other_are_each_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "first_script.py").write_text("from second_script import name as theirs\n" + FREE)
    (tmp_path / "second_script.py").write_text("from first_script import name as theirs\n" + FREE)
    problems = load_scripts(tmp_path).problems
    assert ["partially initialized module" in problem.message for problem in problems] == [True, True]
