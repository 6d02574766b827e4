"""A process under gevent, for ``test_gevent``: prints what each of its scenes came to."""

from gevent import monkey

monkey.patch_all()

import json
import sys
from collections.abc import Callable
from typing import Any

import django
import gevent
from gevent.event import Event

django.setup()

from django.db import connection, transaction

from django_connmgr import PoolTimeout, lease_connection, pools, unit_of_work, with_connection

pool = pools["default"]


def query(sql: str = "SELECT pg_backend_pid()") -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def queues_behind_an_exhausted_pool() -> Any:
    @unit_of_work()
    def work() -> Any:
        return query("SELECT pg_backend_pid() FROM pg_sleep(0.02)")

    pids = {greenlet.get() for greenlet in spawn(work, 6)}
    return len(pids), repr(pool)


def ends_without_a_release() -> Any:
    spawn(lease_connection, 2)
    while pool.stats().leased:  # gevent clears a greenlet's locals in its hub, soon.
        gevent.sleep(0)
    return repr(pool)


def is_killed_in_a_query() -> Any:
    before = query()
    connection.close()
    is_running = Event()

    def work() -> None:
        with connection.cursor() as cursor:
            is_running.set()
            cursor.execute("SELECT pg_sleep(30)")

    greenlet = gevent.spawn(work)
    is_running.wait()
    gevent.sleep(0.05)
    greenlet.kill()
    after = query()
    connection.close()
    return before != after, repr(pool)


def is_killed_in_a_transaction() -> Any:
    is_inside = Event()

    def work() -> None:
        with transaction.atomic():
            query("SELECT set_config('application_name', 'dirty', true)")
            is_inside.set()
            Event().wait()

    name = "SELECT current_setting('application_name')"
    before = query(), query(name)
    connection.close()
    greenlet = gevent.spawn(work)
    is_inside.wait()
    greenlet.kill()
    after = query(), query(name)
    connection.close()
    return before[0] == after[0], before[1] == after[1], repr(pool)


def is_killed_in_the_queue() -> Any:
    has_queued = Event()
    with with_connection():
        other = gevent.spawn(hold, has_queued)
        has_queued.wait()
        greenlet = gevent.spawn(query)
        while not pool.stats().waiting:
            gevent.sleep(0)
        greenlet.kill()
        waiting = pool.stats().waiting
        other.kill()
    return waiting, repr(pool)


def hold(has_begun: Event) -> None:
    with with_connection():
        has_begun.set()
        Event().wait()


def names_the_greenlets_that_hold() -> Any:
    has_begun = [Event(), Event()]
    holders = [gevent.spawn(hold, event) for event in has_begun]
    for event in has_begun:
        event.wait()
    try:
        with with_connection(timeout=0.05):
            message = ""
    except PoolTimeout as error:
        message = str(error)
    gevent.killall(holders)
    return message.count("Dummy-"), repr(pool)


def is_hung_up_on() -> Any:
    """While its connection lies idle."""
    victim = query()
    connection.close()
    spawn(lambda: terminate(victim), 1)
    after = query()
    connection.close()
    return after != victim, repr(pool)


def terminate(pid: int) -> None:
    import psycopg

    settings = connection.get_connection_params()
    keys = ("dbname", "user", "password", "host", "port")
    with psycopg.connect(**{key: settings[key] for key in keys}) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


def spawn(function: Callable[[], Any], count: int) -> list[Any]:
    greenlets = [gevent.spawn(function) for _ in range(count)]
    gevent.joinall(greenlets, raise_error=True)
    return greenlets


SCENES = [
    queues_behind_an_exhausted_pool,
    ends_without_a_release,
    is_killed_in_a_query,
    is_killed_in_a_transaction,
    is_killed_in_the_queue,
    names_the_greenlets_that_hold,
    is_hung_up_on,
]

if __name__ == "__main__":
    for scene in SCENES:
        pool.recycle()
        with gevent.Timeout(10):
            sys.stdout.write(json.dumps([scene.__name__, scene()]) + "\n")
