from __future__ import annotations

import psycopg.sql
import pytest

from django_connmgr import ReplicaWriteError
from django_connmgr.consistency.writes import Kind, kind_of, refuse_write

WRITES = [
    "INSERT INTO t VALUES (1)",
    ";INSERT INTO t VALUES (1)",
    "BEGIN; INSERT INTO t VALUES (1); COMMIT",
    "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE",
    "WITH a AS (SELECT 1), b AS (\n INSERT INTO t SELECT 1 RETURNING id) SELECT * FROM b",
    "EXPLAIN (ANALYZE) DELETE FROM t",
    "SELECT 1 AS a INTO t",
    "CREATE INDEX i ON t (a)",
    "TRUNCATE t",
    "REFRESH MATERIALIZED VIEW v",
    "COPY t FROM STDIN",
    """COPY t ("from", "to") FROM '/tmp/x'""",
    "CALL p()",
    "DO $$ BEGIN END $$",
    "VACUUM t",
    b"INSERT INTO t VALUES (1)",
    psycopg.sql.SQL("INSERT INTO {} VALUES (1)").format(psycopg.sql.Identifier("t")),
]
CHANGES = ["  -- why\n update t SET a = 1", "/* a */ /* b */ DELETE FROM t"]
READS = [
    "SELECT 1",
    "(SELECT 1) UNION (SELECT 2)",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    """WITH t AS (SELECT true AS "delete") SELECT "delete", 'update' FROM t""",
    "VALUES (1)",
    "EXPLAIN SELECT 1",
    "EXPLAIN INSERT INTO t VALUES (1)",
    "COPY t TO STDOUT",
    "COPY (SELECT 1 FROM t) TO STDOUT",
    "SHOW all",
    "SET LOCAL statement_timeout = 1",
    "SAVEPOINT s",
    "SELECT updated_at, deleted FROM inserts",
    "FETCH 10 FROM c",
    "SELECT 'ready for update', 'pg_advisory_lock(1)', E'it\\'s nextval(1)', $$for share$$",
    'SELECT 1 AS "lock for share" -- for update of the cache',
    "/* app */ SELECT /* hint */ comment FROM (SELECT 1 AS comment) AS t",
    "",
]


@pytest.mark.parametrize("sql", [*WRITES, *CHANGES], ids=str)
def test_a_statement_that_writes_is_known_and_refused(sql: object) -> None:
    assert kind_of(sql) is (Kind.CHANGES if sql in CHANGES else Kind.WRITES)
    with pytest.raises(ReplicaWriteError):
        refuse_write(sql, "replica")


@pytest.mark.parametrize("sql", READS)
def test_a_statement_that_reads_passes(sql: str) -> None:
    assert kind_of(sql) is Kind.READS
    refuse_write(sql, "replica")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared(1)",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT nextval('s')",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED",
        "SELECT * FROM t FOR KEY SHARE",
    ],
)
def test_what_would_do_nothing_on_a_replica_is_refused(sql: str) -> None:
    assert kind_of(sql) is Kind.READS
    with pytest.raises(ReplicaWriteError, match="'replica' reads from replicas"):
        refuse_write(sql, "replica")


def test_the_error_shows_no_values() -> None:
    with pytest.raises(ReplicaWriteError) as caught:
        refuse_write("INSERT INTO secrets VALUES ('hunter2')", "replica")
    assert "hunter2" not in str(caught.value)


def test_what_cannot_be_read_may_write_and_is_left_to_the_server() -> None:
    assert kind_of(object()) is kind_of("EXECUTE prepared") is Kind.UNKNOWN
    refuse_write(object(), "replica")


@pytest.mark.parametrize("sql", ["/*a*/" * 2000 + "SELECT 1", "'" * 4001, "(" * 4000, "$" * 4000])
def test_a_long_statement_is_read_in_time(sql: str) -> None:
    """An expression that tries every way to split it would not end."""
    assert kind_of(sql) in Kind
