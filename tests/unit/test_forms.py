"""The forms of a data migration, and what each of them refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from datamigrate import Batch, compute_rows, delete_rows, each_batch, update_rows
from datamigrate.words.errors import ScriptError
from unit.samples import orders, users

PENDING = users.c.email_key.is_(None)
VALUES = {users.c.email_key: sa.func.lower(users.c.email)}


async def on_batch(batch: Batch) -> None:
    await batch.execute(sa.text("SELECT 1"))


def on_row(row: Any) -> dict[str, str]:
    return {"email_key": row.email.casefold()}


def update(table: Any = users, **options: Any) -> Any:
    given: dict[str, Any] = {"pending": PENDING, "values": VALUES}
    return update_rows(table, **(given | options))


def delete(table: Any = users, **options: Any) -> Any:
    given: dict[str, Any] = {"pending": PENDING}
    return delete_rows(table, **(given | options))


def batch(table: Any = users, **options: Any) -> Any:
    given: dict[str, Any] = {"pending": PENDING}
    return each_batch(table, **(given | options))(on_batch)


def compute(table: Any = users, **options: Any) -> Any:
    given: dict[str, Any] = {"pending": PENDING, "reads": [users.c.email], "writes": [users.c.email_key]}
    return compute_rows(table, **(given | options))(on_row)


every_form = pytest.mark.parametrize("form", [update, delete, batch, compute])


def refusal(call: Callable[[], Any]) -> ScriptError:
    with pytest.raises(ScriptError) as caught:
        call()
    return caught.value


# what all have in common


@every_form
def test_a_form_without_a_key_walks_the_primary_key(form: Callable[..., Any]) -> None:
    assert form().key is None


@every_form
def test_a_key_is_one_column_or_several(form: Callable[..., Any]) -> None:
    assert form(key=users.c.id).key == (users.c.id,)
    assert form(key=(users.c.id, users.c.email)).key == (users.c.id, users.c.email)
    assert form(key=[users.c.id]).key == (users.c.id,)


@every_form
def test_a_key_may_be_named(form: Callable[..., Any]) -> None:
    assert form(key="id").key == (users.c.id,)
    assert form(key=("id", "email")).key == (users.c.id, users.c.email)


@every_form
def test_an_empty_key_is_refused(form: Callable[..., Any]) -> None:
    assert refusal(lambda: form(key=())).message == "`key` is empty."


@every_form
def test_a_key_of_another_table_is_refused(form: Callable[..., Any]) -> None:
    error = refusal(lambda: form(key=orders.c.tenant_id))
    assert error.message == "`key` names 'tenant_id', which is no column of users."
    assert error.hint == "Declared are: id, email, email_key."


@every_form
def test_a_key_that_the_table_does_not_have_is_refused(form: Callable[..., Any]) -> None:
    assert "`key` names 'nummer'" in refusal(lambda: form(key="nummer")).message


@every_form
def test_a_column_of_the_same_name_in_another_table_is_not_the_tables(form: Callable[..., Any]) -> None:
    assert "`key` names 'id'" in refusal(lambda: form(key=orders.c.id)).message


@every_form
@pytest.mark.parametrize("table", ["users", None, 42, sa.select(users).subquery(), sa.column("id")])
def test_what_is_no_table_is_refused(form: Callable[..., Any], table: Any) -> None:
    error = refusal(lambda: form(table))
    assert "is not a table" in error.message
    assert "sa.table(" in error.hint


@every_form
@pytest.mark.parametrize(
    ("pending", "kind"),
    [(True, "bool"), (None, "NoneType"), ("email IS NULL", "str"), (sa.text("1=1"), "TextClause")],
)
def test_a_pending_that_is_no_condition_is_refused(form: Callable[..., Any], pending: Any, kind: str) -> None:
    error = refusal(lambda: form(pending=pending))
    assert error.message == f"`pending` is {kind}, not a condition."
    assert "is_(None)" in error.hint


@every_form
def test_options_are_kept(form: Callable[..., Any]) -> None:
    options = form(batch_size=100, target_time=0.25, max_pause=2).options
    assert (options.batch_size, options.target_time, options.max_pause) == (100, 0.25, 2)


@every_form
def test_options_that_are_not_given_are_left_to_the_configuration(form: Callable[..., Any]) -> None:
    options = form().options
    assert (options.batch_size, options.target_time, options.max_pause) == (None, None, None)


@every_form
@pytest.mark.parametrize(
    ("option", "value"), [("batch_size", 0), ("batch_size", -1), ("target_time", 0), ("max_pause", -1)]
)
def test_options_that_make_no_sense_are_refused(form: Callable[..., Any], option: str, value: int) -> None:
    assert refusal(lambda: form(**{option: value})).message == f"`{option}` is {value}."


@every_form
def test_a_pause_of_nought_is_none_at_all(form: Callable[..., Any]) -> None:
    assert form(max_pause=0).options.max_pause == 0


@every_form
def test_tags_are_one_or_several(form: Callable[..., Any]) -> None:
    assert form(tags="nightly").tags == {"nightly"}
    assert form(tags=["nightly", "slow"]).tags == {"nightly", "slow"}
    assert form().tags == frozenset()


@pytest.mark.parametrize("table", [sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer))])
def test_a_full_table_will_do(table: sa.Table) -> None:
    assert delete_rows(table, key=table.c.id, pending=table.c.id < 7).key == (table.c.id,)


# update_rows


def test_update_rows_keeps_its_values_by_column() -> None:
    form = update_rows(users, pending=PENDING, values={"email_key": 1})
    assert dict(form.values) == {users.c.email_key: 1}
    assert (form.kind, form.written) == ("update", ("email_key",))


def test_update_rows_refuses_no_values() -> None:
    error = refusal(lambda: update_rows(users, pending=PENDING, values={}))
    assert error.message == "`values` is empty."
    assert error.hint


@pytest.mark.parametrize("column", ["nobody", orders.c.total, 42])
def test_update_rows_refuses_a_column_that_is_not_the_tables(column: Any) -> None:
    error = refusal(lambda: update_rows(users, pending=PENDING, values={column: 1}))
    assert error.message.startswith("`values` names ")
    assert "email_key" in error.hint


@pytest.mark.parametrize("key", [users.c.id, (users.c.email, users.c.id)])
def test_update_rows_refuses_to_write_its_own_key(key: Any) -> None:
    error = refusal(lambda: update_rows(users, key=key, pending=PENDING, values={users.c.id: 1}))
    assert error.message.startswith("It writes its own key, id")
    assert "each_batch" in error.hint


# delete_rows


def test_delete_rows_writes_no_column() -> None:
    form = delete_rows(users, pending=PENDING)
    assert (form.kind, form.written) == ("delete", ())


# compute_rows


def test_compute_rows_can_be_called_like_the_function_it_decorates() -> None:
    class Row:
        email = "ANN@example.org"

    assert compute()(Row()) == {"email_key": "ann@example.org"}


def test_compute_rows_keeps_what_it_reads_and_writes() -> None:
    form = compute(reads=["email", users.c.id], writes=["email_key"])
    assert form.reads == (users.c.email, users.c.id)
    assert (form.kind, form.written) == ("compute", ("email_key",))


def test_compute_rows_of_a_row_is_called_per_row_and_of_rows_per_batch() -> None:
    decorate = compute_rows(users, pending=PENDING, reads=[users.c.email], writes=[users.c.email_key])

    @decorate
    def one(row: Any) -> None: ...

    @decorate
    async def all_of_them(rows: Any) -> list[None]:
        return [None for _ in rows]

    assert not one.takes_batch
    assert all_of_them.takes_batch


def test_compute_rows_refuses_to_write_nothing() -> None:
    assert refusal(lambda: compute(writes=[])).message == "`writes` is empty."


def test_compute_rows_may_read_nothing() -> None:
    assert compute(reads=[]).reads == ()


@pytest.mark.parametrize("where", ["reads", "writes"])
def test_compute_rows_refuses_columns_that_are_not_the_tables(where: str) -> None:
    assert refusal(lambda: compute(**{where: [orders.c.total]})).message == (
        f"`{where}` names 'total', which is no column of users."
    )


def test_compute_rows_refuses_to_write_its_own_key() -> None:
    error = refusal(lambda: compute(key=users.c.email_key))
    assert error.message.startswith("It writes its own key, email_key")


def test_compute_rows_refuses_to_write_a_column_that_has_another_name_in_python() -> None:
    renamed = sa.Table("users", sa.MetaData(), sa.Column("email_key", sa.Text, key="mail"))
    error = refusal(lambda: compute_rows(renamed, pending=PENDING, reads=[], writes=[renamed.c.mail]))
    assert "email_key, which the table declares as mail" in error.message
    assert error.hint == "Declare the column by its own name, without `key=`."


def test_compute_rows_refuses_a_concurrency_of_nought() -> None:
    assert refusal(lambda: compute(concurrency=0)).message == "`concurrency` is 0."
    assert compute(concurrency=3).options.concurrency == 3


@pytest.mark.parametrize("value", ["10", 1.5, True, None])
def test_compute_rows_refuses_a_concurrency_that_is_no_whole_number(value: Any) -> None:
    assert refusal(lambda: compute(concurrency=value)).message == f"`concurrency` is {value!r}."


def no_parameter() -> None: ...
def two_parameters(row: Any, batch: Any) -> None: ...
def other_name(record: Any) -> None: ...


@pytest.mark.parametrize("function", [no_parameter, two_parameters, other_name])
def test_compute_rows_refuses_a_function_with_other_parameters(function: Any) -> None:
    error = refusal(
        lambda: compute_rows(users, pending=PENDING, reads=[], writes=[users.c.email_key])(function)
    )
    assert "does not fit compute_rows" in error.message
    assert error.hint == f"Give it one parameter: def {function.__name__}(row) or (rows)."


# each_batch


def test_each_batch_keeps_its_function() -> None:
    form = each_batch(users, pending=PENDING)(on_batch)
    assert (form.kind, form.written, form.function) == ("batch", (), on_batch)


def test_each_batch_refuses_a_function_that_is_not_asynchronous() -> None:
    def migrate(batch: Batch) -> None: ...

    decorate: Any = each_batch(users, pending=PENDING)
    error = refusal(lambda: decorate(migrate))
    assert error.message == "migrate is not asynchronous."
    assert error.hint == "Write `async def migrate(batch)`."


def test_each_batch_refuses_a_function_with_other_parameters() -> None:
    async def migrate(session: Any) -> None: ...

    error = refusal(lambda: each_batch(users, pending=PENDING)(migrate))
    assert error.message == "migrate(session) does not fit each_batch."


# a batch


def test_a_batch_is_of_no_use_once_it_is_over() -> None:
    def unexpected(*_: Any) -> Any:
        raise AssertionError("nothing must be executed")

    batch = Batch(PENDING, None, (10,), 1, unexpected, lambda: False)
    with pytest.raises(RuntimeError, match="over"):
        asyncio.run(on_batch(batch))


def test_a_batch_hands_statements_and_parameters_on() -> None:
    handed: list[Any] = []

    async def execute(statement: sa.Executable, parameters: Any = None, /) -> Any:
        handed.append((str(statement), parameters))

    async def work(batch: Batch) -> None:
        await batch.execute(sa.text("SELECT 1"))
        await batch.execute(sa.text("SELECT :a"), [{"a": 1}, {"a": 2}])

    asyncio.run(work(Batch(PENDING, (1,), (10,), 7, execute)))
    assert handed == [("SELECT 1", None), ("SELECT :a", [{"a": 1}, {"a": 2}])]
