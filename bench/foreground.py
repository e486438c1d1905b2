"""The application: point reads and updates at a fixed rate over several connections, in a process of its own.

An operation's latency counts from the moment it was due, so that one that waits behind a slow one is slow too.
"""

import asyncio
import json
import random
import sys
import time

import asyncpg

READ = "SELECT first_name, last_name, email FROM people WHERE id = $1"
WRITE = "UPDATE people SET visits = visits + 1 WHERE id = $1"

CONNECTIONS = 8
RATE = 200  # operations a second, every second one an update

Operation = tuple[float, float, bool]
"""When it was due by the monotonic clock, how many seconds it took, and whether it wrote."""


async def work(url: str, rows: int) -> list[Operation]:
    """Work until standard input is closed."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    done: list[Operation] = []
    began = time.monotonic()
    await asyncio.gather(*(_one(url, rows, began, i, ended, done) for i in range(CONNECTIONS)))
    return done


async def _one(
    url: str, rows: int, began: float, number: int, ended: asyncio.Event, done: list[Operation]
) -> None:
    chance = random.Random(number)
    connection = await asyncpg.connect(url)
    due, writes = began + number / RATE, bool(number % 2)
    while not ended.is_set():
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        key = chance.randint(1, rows)
        if writes:
            await connection.execute(WRITE, key)
        else:
            await connection.fetchrow(READ, key)
        done.append((due, time.monotonic() - due, writes))
        due, writes = due + CONNECTIONS / RATE, not writes
    await connection.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(work(sys.argv[1], int(sys.argv[2])))))
