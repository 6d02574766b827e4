from __future__ import annotations

import pytest

from django_connmgr import ReplicaWriteError
from django_connmgr.consistency.writes import may_write, refuse_write

WRITES = [
    "INSERT INTO t VALUES (1)",
    "  -- why\n update t SET a = 1",
    "/* a */ /* b */ DELETE FROM t",
    "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE",
    "WITH a AS (SELECT 1), b AS (\n INSERT INTO t SELECT 1 RETURNING id) SELECT * FROM b",
    "CREATE INDEX i ON t (a)",
    "TRUNCATE t",
    "REFRESH MATERIALIZED VIEW v",
    "COPY t FROM STDIN",
    "CALL p()",
    "DO $$ BEGIN END $$",
    "VACUUM t",
]
READS = [
    "SELECT 1",
    "(SELECT 1) UNION (SELECT 2)",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "VALUES (1)",
    "EXPLAIN SELECT 1",
    "COPY t TO STDOUT",
    "COPY (SELECT 1) TO STDOUT",
    "SHOW all",
    "SET LOCAL statement_timeout = 1",
    "SAVEPOINT s",
    "SELECT updated_at, deleted FROM inserts",
    "FETCH 10 FROM c",
    "",
]


@pytest.mark.parametrize("sql", WRITES)
def test_a_statement_that_writes_is_known_and_refused(sql: str) -> None:
    assert may_write(sql)
    with pytest.raises(ReplicaWriteError):
        refuse_write(sql, "replica")


@pytest.mark.parametrize("sql", READS)
def test_a_statement_that_reads_passes(sql: str) -> None:
    assert not may_write(sql)
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
    assert not may_write(sql)
    with pytest.raises(ReplicaWriteError, match="'replica' reads from replicas"):
        refuse_write(sql, "replica")


def test_the_error_shows_no_values() -> None:
    with pytest.raises(ReplicaWriteError) as caught:
        refuse_write("INSERT INTO secrets VALUES ('hunter2')", "replica")
    assert "hunter2" not in str(caught.value)


def test_what_is_no_text_is_left_to_the_server() -> None:
    assert not may_write(b"DELETE FROM t")
    refuse_write(object(), "replica")
