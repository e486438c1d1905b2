"""Every way of writing a database's URL, brought to the driver used here."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from datamigrate.database.address import Address, address
from datamigrate.words.errors import ConfigurationError

BASE = Path("/project")
SECRET = "hunter2"


def found(text: str | sa.URL) -> Address:
    return address(text, "DATABASE_URL", BASE)


def full(one: Address) -> str:
    return one.url.render_as_string(hide_password=False)


@pytest.mark.parametrize(
    "scheme",
    [
        "postgresql",
        "postgres",
        "postgresql+asyncpg",
        "postgresql+psycopg",
        "postgresql+psycopg2",
        "postgresql+pg8000",
    ],
)
def test_every_spelling_of_postgresql_names_the_same_database(scheme: str) -> None:
    one = found(f"{scheme}://ann:{SECRET}@db.example:5433/shop")
    assert full(one) == f"postgresql+asyncpg://ann:{SECRET}@db.example:5433/shop"
    assert one.backend == "postgresql"
    assert one.file is None


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"])
def test_every_spelling_of_sqlite_names_the_same_file(scheme: str) -> None:
    one = found(f"{scheme}:////data/shop.db")
    assert full(one) == "sqlite+aiosqlite:////data/shop.db"
    assert one.backend == "sqlite"
    assert one.file == Path("/data/shop.db")


def test_a_url_object_will_do() -> None:
    assert full(found(sa.make_url("sqlite:////data/shop.db"))) == "sqlite+aiosqlite:////data/shop.db"


@pytest.mark.parametrize("path", ["shop.db", "./shop.db", "below/shop.db"])
def test_a_relative_path_begins_at_the_project(path: str) -> None:
    assert found(f"sqlite:///{path}").file == BASE / path


def test_a_file_uri_is_left_as_it_is() -> None:
    one = found("sqlite:///file:/data/shop.db?mode=ro&uri=true")
    assert one.url.database == "file:/data/shop.db"
    assert dict(one.url.query) == {"mode": "ro", "uri": "true"}


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file:shared?mode=memory&cache=shared&uri=true",
    ],
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="in-memory") as caught:
        found(url)
    assert "sqlite:///path" in caught.value.hint


@pytest.mark.parametrize("url", ["", "shop.db", "://", "postgresql:/x y", "postgresql://host:port/name"])
def test_what_is_no_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ConfigurationError, match="from DATABASE_URL cannot be read") as caught:
        found(url)
    assert "postgresql://user:***@host/name" in caught.value.hint


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "oracle", "mssql+pyodbc", "http", "sqlitee"])
def test_another_kind_of_database_is_refused(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="supported are PostgreSQL and SQLite"):
        found(f"{scheme}://ann:{SECRET}@host/name")


# secrets


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{SECRET}@host/name",
        f"postgresql://host/name?user=ann&password={SECRET}",
    ],
)
def test_an_address_is_shown_without_its_password(url: str) -> None:
    one = found(url)
    assert SECRET not in str(one)
    assert "host/name" in str(one)
    assert SECRET in full(one)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://ann:{SECRET}@host/name",
        f"postgresql://ann:{SECRET}@host:port/name",
        f"ann:{SECRET}@host/name",
        f"postgresql://host/name?sslmode=require&sslpassword={SECRET}",
        f"sqlite://ann:{SECRET}@/:memory:",
    ],
)
def test_an_error_does_not_repeat_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        found(url)
    assert SECRET not in str(caught.value)


def test_what_only_libpq_knows_of_sockets_is_passed_over() -> None:
    assert not found("postgresql://host/name?channel_binding=require&keepalives=1").url.query


def test_a_parameter_that_asyncpg_does_not_take_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'sslrootcert', which asyncpg does not take"):
        found("postgresql://host/name?sslrootcert=/etc/ca.pem")


def test_two_spellings_of_one_database_are_the_same() -> None:
    here = found("postgresql+asyncpg://ann@localhost/shop")
    assert here.is_same_database(found("postgresql://bob@127.0.0.1:5432/shop"))
    assert not here.is_same_database(found("postgresql://ann@localhost/other"))
    assert not here.is_same_database(found("postgresql://ann@elsewhere/shop"))
    assert not here.is_same_database(found("sqlite:///shop"))
    assert found("sqlite:///a.db").is_same_database(found("sqlite+aiosqlite:///./a.db"))


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for url in (text, f"sqlite:///{text}", f"postgresql://{text}"):
        try:
            found(url)
        except ConfigurationError as error:
            assert "DATABASE_URL" in error.message  # noqa: PT017 # most texts are refused, not all


# what libpq and psycopg call otherwise


def test_the_names_of_libpq_become_those_of_asyncpg() -> None:
    one = found("postgresql://host/name?sslmode=require&connect_timeout=7")
    assert dict(one.url.query) == {"ssl": "require", "timeout": "7"}


def test_the_names_of_asyncpg_stay() -> None:
    one = found("postgresql+asyncpg://host/name?ssl=require&timeout=7&command_timeout=5")
    assert dict(one.url.query) == {"ssl": "require", "timeout": "7", "command_timeout": "5"}


def test_settings_of_the_server_are_taken_out_of_the_url() -> None:
    one = found("postgresql://host/name?application_name=shop&options=-csearch_path%3Dcrm&sslmode=disable")
    assert one.settings == (("application_name", "shop"), ("options", "-csearch_path=crm"))
    assert dict(one.url.query) == {"ssl": "disable"}


def test_a_url_without_settings_has_none() -> None:
    assert found("postgresql://host/name").settings == ()


def test_an_address_knows_where_it_was_found() -> None:
    assert found("postgresql://host/name").source == "DATABASE_URL"
