"""What a borrower leaves in its session: it keeps it, and the next one never sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.signals import connection_created

from django_connmgr import dedicated, pools, release_connection, unit_of_work, with_connection
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .test_holds import is_free
from .threads import ask, in_a_thread, in_threads

#: What to do to a session, and how to see it there.
LEFTOVERS = {
    "temporary table": (
        "CREATE TEMP TABLE left_over (id int)",
        "SELECT to_regclass('pg_temp.left_over')::text",
    ),
    "advisory lock": (
        "SELECT pg_advisory_lock(42)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    "search path": ("SET search_path = pg_catalog", "SHOW search_path"),
    "set_config": (
        "SELECT set_config('my.own', 'x', false)",
        "SELECT coalesce(current_setting('my.own', true), '')",
    ),
    "role": ("SET ROLE pg_monitor", "SELECT current_user::text"),
    "session authorization": ("SET SESSION AUTHORIZATION pg_monitor", "SELECT session_user::text"),
    "statement timeout": ("SET statement_timeout = 12345", "SHOW statement_timeout"),
    "time zone": ("SET TIME ZONE 'Asia/Tokyo'", "SHOW TIME ZONE"),
    "listen": ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()"),
    "prepared statement": (
        "PREPARE answer AS SELECT 42",
        "SELECT count(*) FROM pg_prepared_statements WHERE name = 'answer'",
    ),
    "held cursor": (
        "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*) FROM pg_cursors WHERE name = 'held'",
    ),
}
leftovers = pytest.mark.parametrize(("leave", "look"), LEFTOVERS.values(), ids=LEFTOVERS)


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture
def contenders() -> Iterator[Callable[[], None]]:
    """Starts threads that fight for the pool until the test is over."""
    is_over = threading.Event()
    threads: list[threading.Thread] = []

    def fight() -> None:
        while not is_over.is_set():
            with with_connection(timeout=30):
                is_over.wait(0.001)
            release_connection()

    def start() -> None:
        threads.extend(threading.Thread(target=fight) for _ in range(4))
        for thread in threads:
            thread.start()

    yield start
    is_over.set()
    for thread in threads:
        thread.join(30)


@leftovers
def test_it_is_kept_for_the_unit_and_gone_for_the_next_borrower(
    pool_of: PoolOf, leave: str, look: str
) -> None:
    pool = pool_of(max_size=1, reset="session")
    before = ask(look)
    release_connection()
    with unit_of_work():
        run(leave)
        changed = ask(look)
        assert changed != before
        assert not is_free()
        assert ask(look) == changed
    assert in_a_thread(lambda: ask(look)) == before
    assert (pool.stats().opened, pool.stats().session_holds) == (1, 1)


def test_it_stays_under_contention(pool_of: PoolOf, contenders: Callable[[], None]) -> None:
    pool_of(max_size=2, reset="session", timeout=30)
    contenders()
    for _ in range(10):
        with unit_of_work():
            run("CREATE TEMP TABLE mine (id int)")
            run("SELECT pg_advisory_lock(7)")
            run("SET search_path = pg_temp, public")
            pids = {ask() for _ in range(5)}
            assert ask("SELECT count(*) FROM mine") == 0
            assert ask("SHOW search_path") == "pg_temp, public"
            assert ask("SELECT pg_advisory_unlock(7)")
            assert len(pids) == 1


def test_it_belongs_to_the_unit_that_made_it_not_to_the_one_that_had_the_connection_warm(
    pool_of: PoolOf,
) -> None:
    pool = pool_of(max_size=1, reset="session", timeout=1)
    with unit_of_work("outer"):
        before = ask("SHOW search_path")
        with unit_of_work("inner"):
            run("SET search_path = pg_temp")
            assert not is_free()
        assert in_a_thread(lambda: ask("SHOW search_path")) == before
    assert pool.stats().opened == 1


def test_it_survives_the_end_of_another_task_of_this_thread(pool_of: PoolOf) -> None:
    """Which had the same connection warm, as tasks of one thread have."""
    pool_of(max_size=1, reset="session")
    first, second = copy_context(), copy_context()
    one, other = unit_of_work("one"), unit_of_work("other")
    first.run(one.__enter__)
    first.run(ask)
    second.run(other.__enter__)
    second.run(run, "SET search_path = pg_temp")
    first.run(one.__exit__, None, None, None)
    assert second.run(ask, "SHOW search_path") == "pg_temp"
    second.run(other.__exit__, None, None, None)
    assert is_free()


def test_with_rollback_only_it_is_the_next_borrowers_too(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    with unit_of_work():
        run("SET statement_timeout = 12345")
    assert ask("SHOW statement_timeout") == "12345ms"


def test_prepared_statements_of_the_driver_survive_a_reset(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver forgets them with the server, or its next execution would fail."""
    pool_of(max_size=1, reset="session")
    from django.db import connections

    options = connections.settings["default"]["OPTIONS"]
    monkeypatch.setitem(options, "prepare_threshold", 0)
    monkeypatch.setitem(options, "server_side_binding", True)
    pool = pools["default"]  # Other options, another pool.
    for _ in range(3):
        with unit_of_work():
            assert not Customer.objects.filter(pk=1).exists()
            count = "SELECT count(*) FROM pg_prepared_statements"
            assert ask(count) >= 1
            run("SET statement_timeout = 12345")
    assert pool.stats().opened == 1


def test_what_a_subclass_knew_of_its_session_is_forgotten_with_the_reset(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool_of(max_size=1, reset="session")
    forgotten: list[bool] = []
    with unit_of_work():
        ask()
        run("SET statement_timeout = 12345")
        release_connection()
        monkeypatch.setattr(connection, "forget_session", lambda: forgotten.append(True))
        ask()
    assert forgotten


def test_a_clean_session_is_not_reset(pool_of: PoolOf) -> None:
    pool_of(max_size=1, reset="session")
    run("SELECT set_config('my.own', 'x', true)")
    with connection.cursor() as cursor:
        cursor.connection.execute("SET my.own = 'unseen'")  # Behind our backs.
    release_connection()
    assert ask("SELECT current_setting('my.own', true)") == "unseen"


def test_what_is_set_for_the_transaction_does_not_keep(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    with transaction.atomic():
        run("SET LOCAL statement_timeout = 12345")
    assert is_free()


def test_what_a_transaction_sets_for_the_session_keeps(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    with transaction.atomic():
        run("SET statement_timeout = 12345")
    assert not is_free()
    assert ask("SHOW statement_timeout") == "12345ms"


def test_what_an_on_commit_hook_sets_keeps(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    with transaction.atomic():
        transaction.on_commit(lambda: run("SET statement_timeout = 12345"))
    assert not is_free()


def test_batches_and_procedures_are_looked_at_too(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    with unit_of_work():
        with connection.cursor() as cursor:
            cursor.executemany("SELECT set_config('my.own', %s, false)", [("x",), ("y",)])
        assert not is_free()
    with unit_of_work():
        with connection.cursor() as cursor:
            cursor.callproc("pg_advisory_lock", [42])
        assert not is_free()


def test_a_transaction_begun_by_hand_keeps_and_is_rolled_back(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    with unit_of_work():
        run("BEGIN")
        Customer.objects.create(name="Ada")
        assert not is_free()
        assert Customer.objects.count() == 1
    assert Customer.objects.count() == 0


def test_a_transaction_begun_by_hand_is_ended_by_commit(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    with unit_of_work():
        run("BEGIN")
        Customer.objects.create(name="Ada")
        transaction.commit()
        assert not is_free()  # For the rest of the unit: nobody reads what commit() ends.
    assert Customer.objects.count() == 1


def insert_past_django() -> None:
    """In a transaction that only the driver knows of."""
    with connection.cursor() as cursor:
        raw = cursor.connection
        raw.autocommit = False
        raw.execute("INSERT INTO shop_customer (name) VALUES ('Ada')")


@pytest.mark.parametrize("release", ["request", "transaction"])
def test_a_transaction_begun_past_django_is_kept_until_the_unit_ends(
    pool_of: PoolOf, release: str
) -> None:
    pool = pool_of(max_size=1, release=release)
    with unit_of_work():
        insert_past_django()
        assert (is_free(), pool.stats().leased) == (False, 1)
        assert Customer.objects.get().name == "Ada"
        assert (is_free(), pool.stats().leased) == (False, 1)
    assert (is_free(), pool.stats().leased) == (True, 0)
    assert not Customer.objects.exists()
    with connection.cursor() as cursor:
        assert cursor.connection.autocommit


@pytest.mark.parametrize("release", ["request", "transaction"])
def test_a_transaction_begun_past_django_may_be_committed_later(
    pool_of: PoolOf, release: str
) -> None:
    pool = pool_of(max_size=1, release=release)
    with unit_of_work():
        insert_past_django()
        with connection.cursor() as cursor:
            cursor.connection.commit()
    assert is_free()
    assert Customer.objects.get().name == "Ada"
    assert dict(pool.stats().closed) == {}


@pytest.mark.parametrize("end", [transaction.commit, transaction.rollback])
def test_ending_one_that_the_unit_gave_back_does_not_end_the_next_owners(
    pool_of: PoolOf, end: Callable[[], None]
) -> None:
    pool_of(max_size=1)
    has_begun, may_end, is_over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        run("BEGIN")
        has_begun.set()
        assert may_end.wait(30)
        end()
        is_over.set()

    with unit_of_work():
        thread = threading.Thread(target=copy_context().run, args=(work,))
        thread.start()
        assert has_begun.wait(30)
    # The unit has ended and taken the lease from the thread, which knows nothing of it.
    with transaction.atomic():
        Customer.objects.create(name="Ada")
        may_end.set()
        assert is_over.wait(30)
        assert ask("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
        transaction.set_rollback(True)
    thread.join(30)
    assert Customer.objects.count() == 0


def test_what_a_receiver_does_when_it_is_opened_is_done_again(pool_of: PoolOf) -> None:
    """Nobody knows how to do it again to the same connection, so it is replaced."""
    pool = pool_of(max_size=1, reset="session")

    def receiver(connection: Any, **kwargs: Any) -> None:
        if connection.alias == "default":
            with connection.cursor() as cursor:
                cursor.execute("SET my.own = 'customised'")

    connection_created.connect(receiver)
    try:
        own = "SELECT current_setting('my.own', true)"
        with unit_of_work():
            first = ask()
            assert ask(own) == "customised"
            assert is_free()  # That is how every connection is, so it keeps nothing.
            run("SET my.own = 'changed'")
            assert ask() == first
        with unit_of_work():
            assert ask(own) == "customised"
            assert ask() != first
        assert (pool.stats().opened, pool.stats().closed) == (2, {"reset_failed": 1})
    finally:
        connection_created.disconnect(receiver)


def test_assumed_roles_and_time_zones_survive_a_reset(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import connections

    pool_of(max_size=1, reset="session")
    monkeypatch.setitem(connections.settings["default"]["OPTIONS"], "assume_role", "pg_monitor")
    pool = pools["default"]  # Other options, another pool.
    for _ in range(2):
        with unit_of_work():
            assert ask("SELECT current_user::text") == "pg_monitor"
            assert ask("SHOW TIME ZONE") == "UTC"
            run("RESET ROLE")
            run("SET TIME ZONE 'Asia/Tokyo'")
    assert pool.stats().opened == 1


@pytest.mark.parametrize("reset", ["session", "rollback"])
def test_tenants_by_search_path_never_see_each_others_rows(pool_of: PoolOf, reset: str) -> None:
    pool_of(max_size=1, reset=reset, timeout=30)
    for tenant in ("ada", "bob"):
        run(f"CREATE SCHEMA {tenant}; CREATE TABLE {tenant}.owner AS SELECT '{tenant}' AS name")
    release_connection()
    turns = {"ada": threading.Semaphore(1), "bob": threading.Semaphore(0)}

    def serve(tenant: str, other: str) -> list[str]:
        seen = []
        for _ in range(100):
            assert turns[tenant].acquire(timeout=30)
            with unit_of_work():
                run(f"SET search_path = {tenant}")
                seen += [ask("SELECT name FROM owner"), ask("SELECT name FROM owner")]
            turns[other].release()
        return [tenant] if set(seen) == {tenant} else seen

    order = iter([("ada", "bob"), ("bob", "ada")])
    try:
        results = in_threads(2, lambda: serve(*next(order)))
        assert sorted(results) == [["ada"], ["bob"]]
    finally:
        with unit_of_work():
            run("SET search_path = public")
            run("DROP SCHEMA ada CASCADE; DROP SCHEMA bob CASCADE")


def test_a_dedicated_connection_is_outside_the_pool_and_closed(pool: Pool) -> None:
    with dedicated() as wrapper:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(42), pg_backend_pid()")
            pid = cursor.fetchone()[1]
        stats = pools["default"].stats()
        assert (stats.size, stats.dedicated) == (0, 1)
        assert ask() != pid
    stats = pools["default"].stats()
    assert (stats.size, stats.dedicated) == (1, 0)
    assert wrapper.connection is None
    ask("SELECT pg_advisory_lock(42)")  # Waits until the server has let go of it.
    assert ask("SELECT pg_advisory_unlock(42)")
