"""A forked child owns nothing of its parent's, and the parent notices nothing."""

from __future__ import annotations

import pytest

from .process import Python

DRIVERS = pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])

BUSY = """
import contextlib
pool = pools["default"]
parents, children, stop = set(), [], threading.Event()

def keep_busy():
    # Connects, checks out and gives back all the time, so that forks happen under locks.
    while not stop.is_set():
        with turns:
            parents.add(ask())
            release_connection()
            pool.recycle()
        stop.wait(0.0001)

turns = {turns}
threads = [threading.Thread(target=keep_busy) for _ in range(3)]
with transaction.atomic():
    Customer.objects.create(name="the parent's")
    parents.add(ask())
    for thread in threads:
        thread.start()
    for number in range({forks}):
        reader, writer = os.pipe()
        with turns:
            child = os.fork()
        if not child:
            signal.alarm(20)  # If it hangs, it dies, and the parent sees that.
            assert not connection.in_atomic_block
            os.write(writer, str(ask()).encode())
            if number % 2:
                pool.close()
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            children.append((os.waitpid(child, 0)[1], int(answer.read() or 0)))
    stop.set()
    for thread in threads:
        thread.join(20)
backends = {backend for _, backend in children}
print(all(status == 0 for status, _ in children), len(backends), len(parents) > 4)
print(backends.isdisjoint(parents), 0 in backends)
print(Customer.objects.filter(name="the parent's").delete()[0])
print(taken(pool), any(thread.is_alive() for thread in threads))
"""


@pytest.mark.timeout(180)  # Each fork connects; a child that hangs is killed long before.
@pytest.mark.parametrize(("driver", "forks"), [("psycopg", 50), ("psycopg2", 15)])
def test_children_share_nothing_with_their_busy_parent(
    python: Python, driver: str, forks: int
) -> None:
    # psycopg 2 connects in one call of libpq. What that locks stays locked in a child that is
    # forked meanwhile, so there the threads connect between two forks only.
    turns = "threading.Lock()" if driver == "psycopg2" else "contextlib.nullcontext()"
    script = BUSY.replace("{forks}", str(forks)).replace("{turns}", turns)
    out = python(script, pool="max_size=5,timeout=20", driver=driver)
    assert out.splitlines() == [f"True {forks} True", "True False", "1", "1 False"]


@DRIVERS
def test_a_child_that_exits_in_order_leaves_the_parents_transaction_open(
    python: Python, driver: str
) -> None:
    out = python(
        """
        with transaction.atomic():
            Customer.objects.create(name="the parent's")
            backend = ask()
            sys.stdout.flush()
            child = os.fork()
            if not child:
                sys.exit(0 if ask() != backend else 1)
            print(os.waitpid(child, 0)[1], ask() == backend)
        print(Customer.objects.filter(name="the parent's").delete()[0], ask() == backend)
        """,
        driver=driver,
    )
    assert out.splitlines() == ["0 True", "1 True"]


@DRIVERS
def test_idle_connections_stay_the_parents(python: Python, driver: str) -> None:
    out = python(
        """
        backend = ask()
        release_connection()
        children = []
        for _ in range(3):
            sys.stdout.flush()
            child = os.fork()
            if not child:
                os._exit(0 if pools["default"].stats().size == 0 and ask() != backend else 1)
            children.append(os.waitpid(child, 0)[1])
        print(children, ask() == backend, pools["default"].stats().opened)
        """,
        driver=driver,
    )
    assert out == "[0, 0, 0] True 1\n"


def test_multiprocessing_by_fork_works_as_ever(python: Python) -> None:
    out = python(
        """
        import multiprocessing
        context = multiprocessing.get_context("fork")
        def task(number):
            return ask(f"SELECT {number}"), ask()
        mine = ask()
        with context.Pool(2) as workers:
            answers = workers.map(task, range(4))
            workers.close()
            workers.join()
        print([number for number, _ in answers], mine in {pid for _, pid in answers})
        print(ask() == mine)
        """
    )
    assert out.splitlines() == ["[0, 1, 2, 3] False", "True"]


def test_a_file_of_sqlite_is_opened_anew_in_the_child(python: Python, tmp_path: object) -> None:
    out = python(
        """
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE numbers (n int)")
        sys.stdout.flush()
        child = os.fork()
        if not child:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO numbers VALUES (1)")
            print(pools["default"].stats().opened)
            sys.exit()
        print(os.waitpid(child, 0)[1], ask("SELECT n FROM numbers"))
        """,
        url=f"sqlite:///{tmp_path}/fork.sqlite3",
    )
    assert out.splitlines() == ["1", "0 1"]
