"""Which database: any way of writing its URL, brought to the driver used here."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from datamigrate.words.errors import ConfigurationError, DatabaseMissing, DatabaseUnavailable, Place
from datamigrate.words.secrets import learn, learn_secret

_SQLITE = b"SQLite format 3\0"
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}

# what psycopg and libpq call it -> what asyncpg calls it
_ASYNCPG_NAMES = {"sslmode": "ssl", "connect_timeout": "timeout"}
_ASYNCPG_SETTINGS = frozenset({"application_name", "options", "search_path"})
_ASYNCPG_TAKES = frozenset(
    {
        "host",
        "port",
        "user",
        "password",
        "passfile",
        "ssl",
        "timeout",
        "command_timeout",
        "target_session_attrs",
    }
)
# settings of libpq's own sockets and handshakes, without which a connection is the same
_OF_LIBPQ = frozenset(
    {
        "channel_binding",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "sslnegotiation",
        "tcp_user_timeout",
    }
)


@dataclass(frozen=True)
class Address:
    """A database and where its URL was found; `settings` are server settings the URL asked for."""

    url: URL
    source: str
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def backend(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.url.get_backend_name()

    @property
    def file(self) -> Path | None:
        """The database's file, for SQLite."""
        return Path(self.url.database) if self.backend == "sqlite" and self.url.database else None

    def is_same_database(self, other: "Address") -> bool:
        """Whether both lead to one database, whoever logs in."""
        if self.backend != other.backend:
            return False
        if self.file is not None and other.file is not None:
            return self.file.resolve() == other.file.resolve()
        return self._server == other._server and self.url.database == other.url.database

    @property
    def _server(self) -> tuple[object, int]:
        host = self.url.host or self.url.query.get("host") or "localhost"
        return "localhost" if host in ("127.0.0.1", "::1") else host, self.url.port or 5432

    def __str__(self) -> str:
        """The URL without its password, wherever that stands."""
        shown = self.url.difference_update_query(_secret_names(self.url))
        return shown.render_as_string(hide_password=True)


def address(text: str | URL, source: str, base: Path) -> Address:
    """The address for a URL, sync or async; a relative SQLite path is taken from `base`.

    Raises ConfigurationError, which never repeats the URL's password.
    """
    if isinstance(text, str):
        learn(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            f"The database URL from {source} cannot be read.",
            "It looks like postgresql://user:***@host/name or sqlite:///path/to/file.db.",
        ) from None
    _learn(url)
    backend = url.get_backend_name()
    if backend == "postgres":
        backend = "postgresql"
    if backend not in _DRIVERS:
        raise ConfigurationError(
            f"The database URL from {source} names {backend}; supported are PostgreSQL and SQLite."
        )
    url = url.set(drivername=_DRIVERS[backend])
    return _sqlite(url, source, base) if backend == "sqlite" else _postgresql(url, source)


def _secret_names(url: URL) -> list[str]:
    return [name for name in url.query if "password" in name.lower()]


def _learn(url: URL) -> None:
    """Hide its passwords from now on, in whatever a driver or a script may say."""
    given = [url.query[name] for name in _secret_names(url)]
    learn_secret(
        url.password, *(v for value in given for v in ([value] if isinstance(value, str) else value))
    )


def no_sqlite_file(file: Path, source: str) -> DatabaseMissing:
    """The error for a database file that is not there."""
    return DatabaseMissing(
        f"There is no SQLite database at {file} (from {source}).",
        "Create it with `alembic upgrade head`, or mend the URL.",
        Place(str(file)),
    )


def refuse_other_file(address: Address) -> None:
    """Raises DatabaseUnavailable where the address leads to a file of another kind; an empty one becomes a
    database."""
    assert address.file is not None
    try:
        with address.file.open("rb") as file:
            beginning = file.read(len(_SQLITE))
    except OSError:
        return  # the driver tells why it cannot be opened
    if beginning and beginning != _SQLITE:
        raise DatabaseUnavailable(
            f"{address.file} (from {address.source}) is no SQLite database.",
            "Mend the URL. An encrypted or compressed one has to be opened up first.",
        )


def _sqlite(url: URL, source: str, base: Path) -> Address:
    if url.database in (None, "", ":memory:", "file::memory:") or "memory" in url.query.get("mode", ""):
        raise ConfigurationError(
            f"The database URL from {source} names an in-memory SQLite database, which no other process sees.",
            "Name a file: sqlite:///path/to/file.db.",
        )
    if url.database.startswith("file:"):
        return Address(url, source)
    return Address(url.set(database=str((base / url.database).absolute())), source)


def _postgresql(url: URL, source: str) -> Address:
    if "@" in f"{url.host}{url.database}":
        raise ConfigurationError(
            f"The database URL from {source} has an @ behind the one that ends its password.",
            "In a password, write @ as %40, / as %2F, : as %3A and % as %25.",
        )
    named = {_ASYNCPG_NAMES.get(name, name): value for name, value in url.query.items()}
    query = {name: value for name, value in named.items() if name not in _OF_LIBPQ}
    settings = tuple((name, str(query.pop(name))) for name in sorted(_ASYNCPG_SETTINGS & set(query)))
    if unknown := sorted(name for name in query if name not in _ASYNCPG_TAKES):
        raise ConfigurationError(
            f"The database URL from {source} has the parameter {unknown[0]!r}, which asyncpg does not take.",
            "Leave it out, or set it by the environment variable that PostgreSQL has for it, e.g. PGSSLROOTCERT.",
        )
    return Address(url.set(query=query), source, settings)
