"""Any text at all, in reasonable time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.thought.linting.lint import lint_revision

UPGRADE = "from alembic import op\n\n\ndef upgrade():\n"
EXPRESSIONS = st.recursive(
    st.sampled_from(
        ["x", "y", "op", "session", "f", "1", "None", "'UPDATE t SET a=1'", "f'DELETE FROM {x}'", "[]", "{}"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} + {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} % {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"[{two[0]}, {two[1]}]"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]})[{two[1]}]"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]})({two[1]})"),
        st.tuples(inner, st.sampled_from(["execute", "query", "format", "update", "c", "all", "items"])).map(
            lambda two: f"({two[0]}).{two[1]}"
        ),
        inner.map(lambda one: f"[a for a in ({one})]"),
        inner.map(lambda one: f"(lambda x: {one})"),
    ),
    max_leaves=12,
)
STATEMENTS = st.one_of(
    st.tuples(st.sampled_from("xyf"), EXPRESSIONS).map(lambda two: f"{two[0]} = {two[1]}"),
    st.tuples(st.sampled_from("xy"), EXPRESSIONS).map(lambda two: f"{two[0]} += {two[1]}"),
    EXPRESSIONS.map(lambda one: f"op.execute({one})"),
    EXPRESSIONS.map(lambda one: f"return {one}"),
    EXPRESSIONS.map(lambda one: f"yield {one}"),
    st.tuples(st.sampled_from("xy"), EXPRESSIONS).map(lambda two: f"for {two[0]} in {two[1]}: f({two[0]})"),
    st.tuples(st.sampled_from("xy"), EXPRESSIONS).map(lambda two: f"for x, {two[0]} in {two[1]}: x.a = 1"),
    EXPRESSIONS.map(lambda one: f"with {one} as session: session.add(x)"),
)


@given(st.text())
def test_any_text(text: str) -> None:
    lint_revision(text, "one.py")


@given(st.text(alphabet="def upgrade():\n op.execute('UPDATE t SET x=1')#[]{}\"\\", max_size=200))
def test_nearly_python(text: str) -> None:
    lint_revision(text, "one.py")


@given(st.lists(STATEMENTS, min_size=1, max_size=12), st.lists(STATEMENTS, max_size=6))
def test_any_program(upgrade: list[str], helper: list[str]) -> None:
    source = "def upgrade():\n" + "".join(f"    {line}\n" for line in upgrade)
    source += "def f(x, y=1):\n    pass\n" + "".join(f"    {line}\n" for line in helper)
    lint_revision(source, "one.py")


@pytest.mark.parametrize(
    "source",
    [
        UPGRADE + "".join(f"    op.execute('UPDATE t{n} SET x = 1')\n" for n in range(1500)),
        UPGRADE
        + "    op.execute('''INSERT INTO t VALUES "
        + ",".join(f"({n})" for n in range(60_000))
        + "''')\n",
        UPGRADE + "    op.bulk_insert(t, [" + "{'a': 1}, " * 10_000 + "])\n",
        UPGRADE + "    op.execute(" + " + ".join(["'UPDATE t SET x = 1;'"] * 800) + ")\n",
        UPGRADE + "".join(f"    if x: a = 'UPDATE t{n} SET b = 1'\n    op.execute(a)\n" for n in range(500)),
        UPGRADE
        + "    a0 = 'a' if x else 'b'\n"
        + "".join(f"    a{n + 1} = a{n} + a{n}\n" for n in range(300)),
        UPGRADE + "".join(" " * (n + 4) + "if x:\n" for n in range(80)) + " " * 90 + "op.execute(y)\n",
        UPGRADE + "    op.execute('UPDATE t SET x = " + "(" * 3000 + "1" + ")" * 3000 + "')\n",
        UPGRADE + '    op.execute("UPDATE t SET x = ' + "'" * 50_001 + '")\n',
        UPGRADE + '    op.execute("DO ' + "UPDATE x " * 15_000 + '")\n',
        "def f(x):\n    return f(g(x)) + g(f(x))\ndef g(x):\n    return f(x) + g(g(x))\nop.execute(f(g('a')))\n",
        "op" + ".a()" * 3000,
        "x = " + "[" * 5000,
        "x = " + "-" * 20_000 + "1",
    ],
    ids=lambda source: str(source[40:70]),
)
def test_huge_and_deep_files_do_not_hang(source: str) -> None:
    before = time.process_time()
    lint_revision(source, "one.py")
    assert time.process_time() - before < 30


def test_a_deep_file_is_told_as_unreadable() -> None:
    (found,) = lint_revision("op" + ".a()" * 5000, "one.py")
    assert found.code == "unreadable-revision"


def test_a_byte_order_mark_is_no_harm() -> None:
    (found,) = lint_revision("\ufeff" + UPGRADE + "    op.execute('DELETE FROM a')\n", "one.py")
    assert found.line == 5
