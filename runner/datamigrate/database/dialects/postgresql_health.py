"""What PostgreSQL tells of its health: a statement for each signal, which gives its number, and why that cannot
be had where it cannot."""

from collections.abc import Mapping

from datamigrate.database.dialects.postgresql_settings import OURS

_UNSEEN = "'the role sees its own sessions only; GRANT pg_read_all_stats to it'"

_PRIVILEGED = f"CASE WHEN NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN {_UNSEEN} END"

# a pooler may add the host to a session's name
_OTHERS = f"""
a.datname = current_database() AND a.application_name NOT LIKE '{OURS}%' AND a.pid <> pg_backend_pid()
"""

# a table with its partitions
_TABLE = """(SELECT CAST(CAST(:relation AS text) AS regclass)
    UNION SELECT relid FROM pg_partition_tree(CAST(CAST(:relation AS text) AS regclass)))"""

_REPLICA_LAG = """
SELECT max(extract(epoch FROM replay_lag)),
    CASE WHEN count(*) > count(state) THEN 'the role may not see replicas; GRANT pg_read_all_stats to it' END
FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'
"""

_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), NULL"

# the names of segments count in hexadecimal, in parts of 4 GB; the one that is being written is not due yet
_ARCHIVE_BACKLOG = """
SELECT CASE WHEN archives AND last ~ '^[0-9A-F]{24}' THEN greatest(0, now - 1
        - CAST(CAST('x' || substr(last, 9, 8) AS bit(32)) AS bigint) * (4294967296 / bytes)
        - CAST(CAST('x' || substr(last, 17, 8) AS bit(32)) AS bigint)) END,
    CASE WHEN archives AND last IS NULL AND failed > 0 THEN 'nothing has ever been archived' END
FROM (SELECT last_archived_wal AS last, failed_count AS failed, bytes,
             current_setting('archive_mode') <> 'off' AS archives,
             div(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), bytes) AS now
      FROM pg_stat_archiver, pg_size_bytes(current_setting('wal_segment_size')) AS bytes) AS archiver
"""

# pg_locks shows everybody's to everybody
_LOCK_WAITS = f"""
SELECT count(DISTINCT l.pid), NULL FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND {_OTHERS}
"""

_ACTIVE_SESSIONS = f"""
SELECT count(*), {_PRIVILEGED} FROM pg_stat_activity a
WHERE a.state = 'active' AND a.backend_type = 'client backend' AND {_OTHERS}
"""

_JUST_NOW = "a.state_change > clock_timestamp() - interval '5 seconds'"

# a pool that nobody uses is not at work; of sessions that one may not look into only the server's own can be told
_AT_WORK = f"""
SELECT count(*) FILTER (WHERE {_JUST_NOW}),
    CASE WHEN current_setting('application_name') NOT LIKE '{OURS}%'
        THEN 'a pooler hides the names of sessions, by which ours are known'
        WHEN count(*) > count(a.state) AND NOT bool_or(coalesce({_JUST_NOW}, false)) THEN {_UNSEEN} END
FROM pg_stat_activity a WHERE coalesce(a.backend_type, 'client backend') = 'client backend'
    AND a.usesysid IS NOT NULL AND a.pid NOT IN (SELECT pid FROM pg_stat_replication) AND {_OTHERS}
"""

_XMIN_AGE = f"""
SELECT greatest(
    (SELECT max(age(backend_xmin)) FROM pg_stat_activity
     WHERE pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL)),
    (SELECT max(age(xmin)) FROM pg_replication_slots),
    (SELECT max(age(transaction)) FROM pg_prepared_xacts WHERE database = current_database())), {_PRIVILEGED}
"""

_AUTOVACUUM = f"""
SELECT count(*), {_PRIVILEGED} FROM pg_stat_progress_vacuum
WHERE datname = current_database() AND relid IN {_TABLE}
"""

_DEAD_ROWS = f"SELECT sum(n_dead_tup), NULL FROM pg_stat_all_tables WHERE relid IN {_TABLE}"

STATEMENTS: Mapping[str, str] = {
    "replica_lag": _REPLICA_LAG,
    "wal_rate": _WAL,
    "archive_backlog": _ARCHIVE_BACKLOG,
    "lock_waits": _LOCK_WAITS,
    "active_sessions": _ACTIVE_SESSIONS,
    "others": _AT_WORK,
    "xmin_age": _XMIN_AGE,
    "autovacuum": _AUTOVACUUM,
    "dead_rows": _DEAD_ROWS,
}
