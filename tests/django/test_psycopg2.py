"""The main behaviours where only psycopg 2 is installed. Forks and exits are in their files."""

from __future__ import annotations

from .process import Python


def test_it_leases_releases_and_finds_dead_connections(python: Python) -> None:
    out = python(
        """
        from psycopg2.extensions import connection as Connection
        pool = pools["default"]
        connection.ensure_connection()
        backend = ask()
        print(type(connection.connection) is Connection, taken(pool))
        print(release_connection(), taken(pool), ask() == backend)
        lease_connection()
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (killed,) = cursor.fetchone()
        other.close()
        ask(f"SELECT pg_terminate_backend({killed}, 5000)")
        release_connection()
        with with_connection():
            print(ask() == backend)
            with other.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                print(cursor.fetchone()[0] == killed, pool.stats().checks)
            other.close()
        print(taken(pool), pool.stats().idle)
        """,
        driver="psycopg2",
        stderr_has="a connection was found dead",
    )
    assert out.splitlines() == [
        "True 1",
        "True 0 True",
        "True",
        "False 1",
        "0 1",
    ]


def test_it_checks_with_a_round_trip_and_restores_what_was_set(python: Python) -> None:
    out = python(
        """
        import psycopg2.extras
        connection.ensure_connection()
        backend = ask()
        raw = connection.connection
        raw.set_session(isolation_level="SERIALIZABLE", readonly=True)
        raw.cursor_factory = psycopg2.extras.DictCursor
        release_connection()
        print(ask() == backend, ask("SHOW default_transaction_read_only"))
        print(raw.isolation_level, raw.readonly, raw.autocommit)
        transaction.set_autocommit(False)
        Customer.objects.create(name="forgotten")
        release_connection()
        print(ask() == backend, Customer.objects.filter(name="forgotten").exists(), raw.autocommit)
        print(pools["default"].stats().checks)
        """,
        driver="psycopg2",
        pool="check_after=0",
    )
    # A warm connection is checked as a cold one: before each use but the first.
    assert out.splitlines() == ["True off", "None None True", "True False True", "5"]


def test_threads_that_end_give_back(python: Python) -> None:
    out = python(
        """
        gc.disable()
        seen = []
        def work():
            lease_connection()
            seen.append(ask())
        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pools["default"].maintain()
        stats = pools["default"].stats()
        print(len(seen), stats.leased, stats.reaped, stats.size <= 4)
        """,
        driver="psycopg2",
        pool="max_size=4,reclaim=false",
    )
    assert out == "12 0 12 True\n"


def test_an_interrupted_query_costs_no_later_one(python: Python) -> None:
    """psycopg 2 sees a signal only after the query, so nothing is left half-read."""
    out = python(
        """
        def interrupt(*_):
            raise TimeoutError
        signal.signal(signal.SIGALRM, interrupt)
        for query in ("SELECT pg_sleep(0.3)",) * 2:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            try:
                with transaction.atomic():
                    Customer.objects.create(name="half")
                    ask(query)
            except TimeoutError:
                print("interrupted")
        print(ask("SELECT 7"), Customer.objects.filter(name="half").exists())
        release_connection()
        print(taken(pools["default"]))
        """,
        driver="psycopg2",
    )
    assert out.splitlines() == ["interrupted", "interrupted", "7 False", "0"]


def test_a_refusal_is_in_the_servers_words(python: Python) -> None:
    out = python(
        """
        try:
            ask()
        except OperationalError as error:
            print(str(error).strip().splitlines()[-1])
        print(pools["default"])
        """,
        driver="psycopg2",
        url=python.cluster.url.removesuffix("connmgr") + "nowhere",
    )
    assert 'database "nowhere" does not exist' in out
    assert "size=0/5" in out
