"""asyncpg by hand, as well as it can be done: one or two connections, each on its part of the keys, batch and checkpoint in one
transaction. It trusts that keys are dense, tells nobody, verifies nothing, and ends with the first error."""

import asyncio

import asyncpg

from bench.contenders.given import for_asyncpg

BATCH = 20_000

settings = """
SELECT set_config('lock_timeout', '5s', true), set_config('statement_timeout', '30s', true),
       set_config('synchronous_commit', 'off', true)
"""
change = """
UPDATE people SET full_name = trim(first_name || ' ' || last_name)
WHERE id > $1 AND id <= $2 AND full_name IS NULL
"""


async def walk(url: str, part: int, parts: int) -> None:
    connection = await asyncpg.connect(for_asyncpg(url))
    end = await connection.fetchval("SELECT max(id) FROM people")
    cursor, last = end * part // parts, end * (part + 1) // parts
    await connection.execute("INSERT INTO by_hand VALUES ($1, $2)", part, cursor)
    while cursor < last:
        async with connection.transaction():
            await connection.fetch(settings)
            upper = min(cursor + BATCH, last)
            await connection.execute(change, cursor, upper)
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
