"""The end of a process: polite, quick and silent."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from testproject.cluster import Cluster, running_cluster

from .process import Python
from .server import Log

DRIVERS = pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])

#: Three idle connections, opened by three threads at once.
IDLE = """
barrier = threading.Barrier(3)
def work():
    with with_connection():
        ask()
        barrier.wait(20)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert pools["default"].stats().idle == 3, pools
"""

#: Two threads that nobody waits for, each in the middle of a query and of a transaction.
DAEMONS = """
started = threading.Semaphore(0)
def work(query):
    with transaction.atomic():
        ask()
        started.release()
        while True:
            ask(query)
for query in ("SELECT 1", "SELECT pg_sleep(30)"):
    threading.Thread(target=work, args=[query], daemon=True).start()
    started.acquire()
"""


@pytest.fixture(scope="module")
def watchful_cluster() -> Iterator[Cluster]:
    """A server that notices clients that vanish, and says so even where it does not mind."""
    settings = {
        "log_connections": "on",
        "log_disconnections": "on",
        "log_min_messages": "debug1",
        "log_line_prefix": "'%p '",
        "client_connection_check_interval": "100ms",
    }
    with running_cluster(settings=settings) as running:
        Log(running, start=0).await_disconnections(1)  # Of ``CREATE DATABASE``.
        yield running


@pytest.fixture
def watched(watchful_cluster: Cluster) -> Python:
    return Python(watchful_cluster)


def ends(log: str) -> tuple[int, int]:
    """How many connections ended with a goodbye and how many without."""
    broken = "unexpected EOF|could not receive data|could not send data|connection to client lost"
    ended = set(re.findall(r"^(\d+) .*disconnection:", log, re.MULTILINE))
    lost = set(re.findall(rf"^(\d+) .*(?:{broken})", log, re.MULTILINE))
    return len(ended - lost), len(ended & lost)


@DRIVERS
def test_the_server_hears_a_goodbye_on_every_idle_connection(
    watched: Python, watchful_cluster: Cluster, driver: str
) -> None:
    log = Log(watchful_cluster)
    watched(IDLE, driver=driver)
    assert ends(log.await_disconnections(3)) == (3, 0)


def test_a_lease_of_the_main_thread_is_closed_too(
    watched: Python, watchful_cluster: Cluster
) -> None:
    log = Log(watchful_cluster)
    watched("ask()")
    assert ends(log.await_disconnections(1)) == (1, 0)


@DRIVERS
def test_a_transaction_that_is_still_open_ends_with_a_goodbye_too(
    watched: Python, watchful_cluster: Cluster, driver: str
) -> None:
    log = Log(watchful_cluster)
    watched("transaction.set_autocommit(False)\nask()", driver=driver)
    assert ends(log.await_disconnections(1)) == (1, 0)


def test_sys_exit_from_a_sigterm_handler_is_polite(
    watched: Python, watchful_cluster: Cluster
) -> None:
    log = Log(watchful_cluster)
    script = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
ask()
threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
ask("SELECT pg_sleep(20)")
"""
    watched(IDLE + script, status=3)
    assert ends(log.await_disconnections(3)) == (3, 0)


@DRIVERS
def test_daemon_threads_with_leases_neither_delay_nor_crash_it(
    watched: Python, watchful_cluster: Cluster, driver: str
) -> None:
    """Their connections are in use and break; the idle ones get their goodbye all the same."""
    log = Log(watchful_cluster)
    watched(DAEMONS + IDLE, driver=driver)
    assert ends(log.await_disconnections(5)) == (3, 2)


@DRIVERS
def test_daemon_threads_that_wait_for_a_connection_say_nothing(
    watched: Python, driver: str
) -> None:
    """They sleep on and end with the process, without a traceback."""
    script = """
pool = pools["default"]
def wait():
    while True:
        ask("SELECT pg_sleep(0.01)")
lease_connection()
for _ in range(5):
    threading.Thread(target=wait, daemon=True).start()
while pool.stats().waiting < 5:
    time.sleep(0.001)
"""
    assert watched(script, driver=driver, pool="max_size=1,timeout=50") == ""


def test_it_takes_no_time(watched: Python) -> None:
    """Handlers run last in, first out: the first one here is registered after the pool's.

    Several processes may try, because a busy machine may stop any of them for longer.
    """
    script = """
import atexit
from django_connmgr.backends import wrapper
atexit.unregister(wrapper._at_exit)
atexit.register(lambda: print(time.monotonic() - started < 0.1))
atexit.register(wrapper._at_exit)
def start():
    global started
    started = time.monotonic()
atexit.register(start)
"""
    assert any(watched(DAEMONS + IDLE + script) == "True\n" for _ in range(5))


def test_a_pool_used_by_another_exit_handler_says_so(watched: Python) -> None:
    """Handlers registered earlier run later, when the pools are closed."""
    out = watched(
        """
        import atexit
        from django_connmgr.backends import wrapper
        def late():
            try:
                ask()
            except PoolClosed as error:
                print(error)
        atexit.unregister(wrapper._at_exit)
        atexit.register(late)
        atexit.register(wrapper._at_exit)
        ask()
        """
    )
    assert out == (
        "Pool 'default' is closed; the next query on connections['default'] makes a new one, "
        "so do not keep pools.\n"
    )


def test_files_of_sqlite_are_closed(python: Python, tmp_path: object) -> None:
    python(IDLE.replace("ask()", "ask('SELECT 1')"), url=f"sqlite:///{tmp_path}/exit.sqlite3")
