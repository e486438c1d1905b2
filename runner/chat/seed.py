"""Fill the chat with made-up people who talk: `python -m chat.seed --users 200000 [--url URL]`.

The tables are those after the revisions that add and before those that take away
(`alembic upgrade d92f0b6c3e51`). The same number of users always gives the same rows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

REVISION = "d92f0b6c3e51"
MOST_MESSAGES = 120_000
FEWEST_USERS = 10
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SECONDS_AT = {  # an instant, from the seconds since 1970
    "postgresql": "to_timestamp({})",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', {}, 'unixepoch')",
}

# fmt: off
FIRST_NAMES = (
    "Ada", "Åsa", "Anna Maria", "Björn", "Chloé", "Dmitri", "Élodie", "Fatima", "Giulia", "Hans Peter", "İpek",
    "Jürgen", "Kwame", "Linh", "Mary Ann", "Nikolaos", "Olamide", "Priya", "Quentin", "Rosa", "Søren", "Tadashi",
    "Uma", "Vera", "Wei", "Ximena", "Yusuf", "Zoë",
)
LAST_NAMES = (
    "Abe", "Bianchi", "Ó Briain", "de la Cruz", "Đặng", "Eriksson", "Fernández", "Große", "Hughes", "Ivanova",
    "Jansen", "Kowalska", "Lovelace", "McLeod", "Nguyen", "Papadopoulos", "Quist", "Ruiz Soto", "Smith-Jones",
    "Tanaka", "Umarov", "van den Berg", "Weiß", "Xu", "Yildiz", "Zola", "",
)
SEPARATORS = (".", "_", "-", "", "\uff0e")  # the last is a full-width stop
TAGS = ("", "+chat", "", "+News+Weekly", "", "", "+")
HOSTS = ("example.com", "Example.COM", "mail.example.org", "EXAMPLE.net")
SENTENCES = (
    "Hello!", "Thanks, see you tomorrow.", "Has anybody seen the report?", "Coffee?", "Why not.", "Really 🎉",
    "I shall be ten minutes late; please begin without me.",
)
SHARED_TITLES = ("General", "Lunch?", "Team meeting", "team  meeting!", "Café", "Straße", "🎉🎉", "???", "日本")
# fmt: on

NUMBERS = """
WITH RECURSIVE numbers(n) AS (
    SELECT 1 WHERE :count > 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count
)"""
USERS = """
INSERT INTO users (id, first_name, last_name, email, created_at) {numbers},
people AS (
    SELECT n, {first} AS first, {last} AS last, {separator} AS separator, {tag} AS tag, {host} AS host
    FROM numbers
)
SELECT n, first, last, replace(first || separator || last, ' ', '') || n || tag || '@' || host, {created_at}
FROM people
"""
PARTICIPANTS = """
INSERT INTO participants (conversation_id, user_id, joined_at)
SELECT id, 1 + (c * 7919 + place * (:users / 4)) % :users, created_at
FROM (SELECT id, created_at, row_number() OVER (ORDER BY id) AS c FROM conversations) AS conversation
JOIN (SELECT 0 AS place UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS places
  ON place < 2 + c % 3
"""
MESSAGES = """
INSERT INTO messages (id, conversation_id, user_id, body, created_at, expires_at) {numbers},
participant AS (
    SELECT conversation_id, user_id, row_number() OVER (ORDER BY conversation_id, user_id) - 1 AS place
    FROM participants
)
SELECT n, conversation_id, user_id, {sentence}, {created_at},
       CASE n % 3 WHEN 0 THEN {past} WHEN 1 THEN {future} END
FROM numbers
JOIN participant ON participant.place = n % :participants
"""

conversations = sa.table(
    "conversations",
    sa.column("id", sa.Uuid),
    sa.column("title", sa.String),
    sa.column("created_at", sa.DateTime(timezone=True)),
)


def users_sql(dialect: str) -> sa.TextClause:
    """Make up `:count` people: some have one name only, some names have spaces, all addresses differ."""
    return sa.text(
        USERS.format(
            numbers=NUMBERS,
            first=one_of(FIRST_NAMES, "n"),
            last=one_of(LAST_NAMES, "n"),
            separator=one_of(SEPARATORS, "n"),
            tag=one_of(TAGS, "n / 3"),
            host=one_of(HOSTS, "n / 7"),
            created_at=instant(dialect, "60 * n"),
        )
    )


def messages_sql(dialect: str) -> sa.TextClause:
    """Let the participants say `:count` things in turn: a third has expired, a third will."""
    return sa.text(
        MESSAGES.format(
            numbers=NUMBERS,
            sentence=one_of(SENTENCES, "n / 2"),
            created_at=instant(dialect, "60 * n"),
            past=instant(dialect, "60 * n + 86400"),
            future=instant(dialect, "60 * n + 3000000000"),
        )
    )


def one_of(words: Sequence[str], number: str) -> str:
    """Return SQL that chooses a word by a number."""
    cases = " ".join(f"WHEN {place} THEN '{word}'" for place, word in enumerate(words))
    return f"CASE {number} % {len(words)} {cases} END"


def instant(dialect: str, seconds: str) -> str:
    """Return SQL for the instant so many seconds after `LONG_AGO`."""
    return SECONDS_AT[dialect].format(f"{LONG_AGO.timestamp():.0f} + {seconds}")


def conversation_rows(count: int) -> list[dict[str, Any]]:
    """Make up conversations: a tenth has no title, three tenths share theirs with others."""
    chance = Random(count)
    return [
        {
            "id": uuid.UUID(int=chance.getrandbits(128), version=4),
            "title": made_up_title(chance, number),
            "created_at": LONG_AGO + timedelta(minutes=number),
        }
        for number in range(1, count + 1)
    ]


def made_up_title(chance: Random, number: int) -> str | None:
    """Return a title of its own, a common one, or none."""
    kind = chance.randrange(10)
    if kind == 0:
        return None
    return chance.choice(SHARED_TITLES) if kind < 4 else f"Topic No. {number}"


async def fill(connection: AsyncConnection, user_count: int) -> str:
    """Fill the tables unless they hold users already; say what was done."""
    if await connection.scalar(sa.text("SELECT id FROM users LIMIT 1")) is not None:
        return "The chat is already seeded; nothing was changed."
    dialect = connection.dialect.name
    message_count = min(user_count * 3 // 2, MOST_MESSAGES)
    rows = conversation_rows(user_count // 10)
    await connection.execute(users_sql(dialect), {"count": user_count})
    await connection.execute(sa.insert(conversations), rows)
    participants = (await connection.execute(sa.text(PARTICIPANTS), {"users": user_count})).rowcount
    places = {"count": message_count, "participants": participants}
    await connection.execute(messages_sql(dialect), places)
    if dialect == "postgresql":
        await number_on(connection, "users", user_count)
        await number_on(connection, "messages", message_count)
    await connection.execute(sa.text("ANALYZE"))
    return f"Seeded {user_count} users, {len(rows)} conversations and {message_count} messages."


async def number_on(connection: AsyncConnection, table: str, last: int) -> None:
    """Have PostgreSQL give the next row of the table the number after `last`; SQLite does so by itself."""
    await connection.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(table, "id"), last)))


def async_url(text: str) -> sa.URL:
    """Return the same database's URL with the driver that this project depends on."""
    drivers = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    url = sa.make_url(text)
    return url.set(drivername=drivers[url.get_backend_name()])


async def seed(url: str, user_count: int) -> str:
    """Fill the database at `url`, all or nothing; say what was done."""
    engine = create_async_engine(async_url(url), poolclass=sa.pool.NullPool)
    async with engine.begin() as connection:
        return await fill(connection, user_count)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m chat.seed", description="Fill the chat's tables.")
    parser.add_argument("--users", type=int, default=1000, metavar="N", help="how many users (1000)")
    parser.add_argument("--url", default=os.environ.get("DATABASE_URL"), help="the database (DATABASE_URL)")
    arguments = parser.parse_args()
    if not arguments.url:
        parser.error("no database: give --url or set DATABASE_URL")
    if arguments.users < FEWEST_USERS:
        parser.error(f"--users must be {FEWEST_USERS} or more")
    try:
        print(asyncio.run(seed(arguments.url, arguments.users)))
    except (sa.exc.OperationalError, sa.exc.ProgrammingError) as error:
        sys.exit(f"{error.orig}\nThe tables must be those of `alembic upgrade {REVISION}`.")


if __name__ == "__main__":
    main()
