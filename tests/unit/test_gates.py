"""Gates are read from a revision's text."""

from __future__ import annotations

from datamigrate.thought.gates import Gate, gates_in

REVISION = '''"""Contract."""
from alembic import op

def upgrade():
    """Take it away."""
    op.require_data("one", "two")
    op.require_data("three")
    op.drop_column("users", "old")

def downgrade():
    op.require_data("never on the way back")
'''


def test_the_gates_of_upgrade_are_found_in_order() -> None:
    assert gates_in(REVISION) == (Gate(("one", "two"), 6, True), Gate(("three",), 7, True))


def test_a_gate_behind_other_work_is_told_apart() -> None:
    source = "def upgrade():\n    op.drop_column('t', 'c')\n    op.require_data('late')\n"
    assert gates_in(source) == (Gate(("late",), 3, False),)


def test_a_gate_within_a_condition_is_not_first() -> None:
    source = "def upgrade():\n    if True:\n        op.require_data('maybe')\n"
    assert gates_in(source) == (Gate(("maybe",), 3, False),)


def test_a_computed_name_is_left_to_the_run() -> None:
    assert gates_in("def upgrade():\n    op.require_data(NAME)\n") == (Gate((), 2, True),)


def test_a_text_that_is_no_python_has_no_gates() -> None:
    assert gates_in("def upgrade(:") == ()
    assert gates_in(b"\x00\xff") == ()
