"""Which statements count as changing the session of the server, and what it costs to ask."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import sql

from django_connmgr.backends import sql as statements
from django_connmgr.backends.sql import touches_session

CHANGES = [
    "SET search_path TO tenant",
    "set search_path = tenant",
    "  \n\tSET search_path = tenant",
    "SET SESSION statement_timeout = 5",
    "SET SESSION AUTHORIZATION ada",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET ROLE ada",
    "SET TIME ZONE 'UTC'",
    "SET @@session.sql_mode = ''",
    "RESET ALL",
    "RESET ROLE",
    "LISTEN news",
    "UNLISTEN *",
    "PREPARE answer AS SELECT 42",
    "DEALLOCATE ALL",
    "DISCARD TEMP",
    "LOAD 'auto_explain'",
    "PRAGMA foreign_keys = OFF",
    "ATTACH DATABASE 'other' AS other",
    "BEGIN",
    "START TRANSACTION",
    "CREATE TEMP TABLE t (id int)",
    "CREATE TEMPORARY TABLE t AS SELECT 1",
    "CREATE LOCAL TEMPORARY TABLE t (id int)",
    "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
    "CREATE TEMP SEQUENCE s",
    "CREATE TABLE pg_temp.t (id int)",
    "SELECT 1 AS a INTO TEMP t",
    "SELECT 1 AS a INTO TEMPORARY TABLE t",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock_shared(1, 2)",
    "SELECT pg_advisory_unlock_all()",
    "SELECT set_config('search_path', 'tenant', false)",
    "SELECT set_config(%s, %s, %s)",
    "SELECT set_config('a.b', 'c', false), set_config('a.d', 'e', true)",
    "SELECT set_config('a.b', upper('c'), true)",  # Not understood, so taken for one.
    "DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$",
    "-- a comment\nSET search_path = tenant",
    "/* several\nlines */ /* and more */ SET search_path = tenant",
    "SELECT 1; SET search_path = tenant",
    "SELECT 1;\n-- and then\nLISTEN news;",
    b"SET search_path = tenant",
    sql.SQL("SET search_path = {}").format(sql.Identifier("tenant")),
    object(),  # Nobody knows, so the answer is the safe one.
]

LEAVES_NOTHING = [
    "",
    "SELECT 1",
    'SELECT "shop_customer"."id" FROM "shop_customer" WHERE "name" = %s',
    "UPDATE shop_customer SET name = %s",
    "INSERT INTO shop_customer (name) VALUES (%s) ON CONFLICT DO UPDATE SET name = 'x'",
    "INSERT INTO temperature VALUES (1)",
    "SELECT reset, listen, load FROM settings",
    "SELECT 1 AS temp",
    "SETTINGS",
    "SET LOCAL search_path = tenant",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SAVEPOINT s1",
    "RELEASE SAVEPOINT s1",
    "NOTIFY news",
    "CREATE TABLE t (id int)",
    "CREATE INDEX temp ON t (id)",
    "DECLARE c CURSOR FOR SELECT 1",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT pg_try_advisory_xact_lock(1)",
    "SELECT set_config('search_path', 'tenant', true)",
    "SELECT set_config(%s, %s, TRUE)",
    "SELECT set_config('search_path', 'tenant', 't')",
    "-- SET search_path = tenant\nSELECT 1",
    "/* SET search_path = tenant */ SELECT 1",
    b"SELECT 1",
    sql.SQL("SELECT {}").format(sql.Literal(1)),
]


@pytest.mark.parametrize("statement", CHANGES, ids=str)
def test_it_changes_the_session(statement: Any) -> None:
    assert touches_session(statement)


@pytest.mark.parametrize("statement", LEAVES_NOTHING, ids=str)
def test_it_leaves_nothing_in_the_session(statement: Any) -> None:
    assert not touches_session(statement)


def test_the_beginning_of_a_long_statement_is_looked_at() -> None:
    bulk = "INSERT INTO shop_customer (name) VALUES " + "(%s), " * 5000
    assert not touches_session(bulk)
    assert touches_session("SET search_path = tenant; " + bulk)


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> set[Any]:
    """The statements that were found to be harmless: none yet."""
    found: set[Any] = set()
    monkeypatch.setattr(statements, "harmless", found)
    return found


def test_a_harmless_statement_is_remembered(remembered: set[Any]) -> None:
    assert not touches_session("SELECT 1")
    assert touches_session("SET search_path = tenant")
    assert remembered == {"SELECT 1"}


def test_long_statements_are_not_remembered(remembered: set[Any]) -> None:
    touches_session("SELECT " + "1, " * 5000)
    assert remembered == set()


def test_only_so_many_statements_are_remembered(remembered: set[Any]) -> None:
    for number in range(5000):
        touches_session(f"SELECT {number}")
    assert 0 < len(remembered) <= 2048
