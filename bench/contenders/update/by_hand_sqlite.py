"""sqlite3 by hand, as well as it can be done: batch and checkpoint in one transaction. It trusts that keys are dense, tells
nobody, verifies nothing, and ends with the first error."""

import sqlite3

from bench.contenders.given import sqlite_file

BATCH = 100_000

change = """
UPDATE people SET full_name = trim(first_name || ' ' || last_name)
WHERE id > ? AND id <= ? AND full_name IS NULL
"""


def migrate(url: str) -> None:
    connection = sqlite3.connect(sqlite_file(url), isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
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
