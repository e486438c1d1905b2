"""sqlite3 by hand, as well as it can be done: the database calls the function, batch and checkpoint in one transaction. It
trusts that keys are dense, tells nobody, verifies nothing, and names no row that fails."""

import sqlite3

from bench.contenders.given import sqlite_file

BATCH = 100_000

change = """
UPDATE people SET lookup = lookup_of(email, last_name, first_name)
WHERE id > ? AND id <= ? AND lookup IS NULL
"""


def lookup(email: str, last_name: str, first_name: str) -> str:
    return f"{email.strip().lower()}/{last_name.lower()}/{len(first_name)}"


def migrate(url: str) -> None:
    connection = sqlite3.connect(sqlite_file(url), isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.create_function("lookup_of", 3, lookup)
    [last] = connection.execute("SELECT max(id) FROM people").fetchone()
    connection.execute("CREATE TABLE by_hand (cursor INTEGER)")
    connection.execute("INSERT INTO by_hand VALUES (0)")
    for cursor in range(0, last, BATCH):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(change, (cursor, cursor + BATCH))
        connection.execute("UPDATE by_hand SET cursor = ?", (cursor + BATCH,))
        connection.execute("COMMIT")
    connection.execute("DROP TABLE by_hand")
    connection.close()
