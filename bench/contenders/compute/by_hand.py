"""asyncpg by hand, as well as it can be done: one or two connections, each on its part of the keys, written from arrays and only
where nobody has changed the row since, batch and checkpoint in one transaction. It trusts that keys are dense, tells
nobody, verifies nothing, does not do rows again that were changed meanwhile, and ends with the first error."""

import asyncio

import asyncpg

from bench.contenders.given import for_asyncpg

BATCH = 5_000

settings = """
SELECT set_config('lock_timeout', '5s', true), set_config('statement_timeout', '30s', true),
       set_config('synchronous_commit', 'off', true)
"""
read = """
SELECT id, xmin, email, last_name, first_name FROM people WHERE id > $1 AND id <= $2 AND lookup IS NULL
"""
write = """
UPDATE people SET lookup = computed.lookup
FROM unnest($3::bigint[], $4::xid[], $5::text[]) AS computed (id, version, lookup)
WHERE people.id = computed.id AND people.xmin = computed.version
AND people.id > $1 AND people.id <= $2 AND people.lookup IS NULL
"""


def lookup(email: str, last_name: str, first_name: str) -> str:
    return f"{email.strip().lower()}/{last_name.lower()}/{len(first_name)}"


async def walk(url: str, part: int, parts: int) -> None:
    connection = await asyncpg.connect(for_asyncpg(url))
    end = await connection.fetchval("SELECT max(id) FROM people")
    cursor, last = end * part // parts, end * (part + 1) // parts
    await connection.execute("INSERT INTO by_hand VALUES ($1, $2)", part, cursor)
    while cursor < last:
        upper = min(cursor + BATCH, last)
        rows = await connection.fetch(read, cursor, upper)
        ids, versions = [row[0] for row in rows], [row[1] for row in rows]
        values = [lookup(row[2], row[3], row[4]) for row in rows]
        async with connection.transaction():
            await connection.fetch(settings)
            await connection.execute(write, cursor, upper, ids, versions, values)
            await connection.execute("UPDATE by_hand SET cursor = $2 WHERE part = $1", part, upper)
        cursor = upper
    await connection.close()


async def walk_all(url: str, parts: int) -> None:
    connection = await asyncpg.connect(for_asyncpg(url))
    await connection.execute("DROP TABLE IF EXISTS by_hand")
    await connection.execute("CREATE TABLE by_hand (part integer PRIMARY KEY, cursor bigint)")
    await asyncio.gather(*(walk(url, part, parts) for part in range(parts)))
    await connection.execute("DROP TABLE by_hand")
    await connection.close()


def migrate(url: str, connections: str) -> None:
    asyncio.run(walk_all(url, int(connections)))
