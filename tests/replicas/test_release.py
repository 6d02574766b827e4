"""At the end of every unit of work nothing is leased on any server, whichever router chose it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.core.signals import request_finished, request_started
from django.db import connections, transaction

from django_connmgr import Thread, lease_connection, unit_of_work, using_primary
from django_connmgr.registry import registry
from testproject.cluster import DATABASE
from testproject.replication import Replication
from testproject.shop.models import Customer

from .conftest import REPLICA

#: Aliases of one server each, as in Django's manual.
SERVERS = ("replica1", "replica2")
ALL = ("default", *SERVERS)


@pytest.fixture
def servers(project: Replication) -> Iterator[Replication]:
    """An alias for each server, and no router of ours."""
    for replica in project.replicas:
        connections.settings[replica.name] = {
            **connections.settings["default"],
            "HOST": replica.host,
            "PORT": str(replica.port),
        }
    yield project
    for replica in project.replicas:
        if hasattr(connections._connections, replica.name):  # type: ignore[attr-defined]
            connections[replica.name].close()
            del connections[replica.name]
        registry.close(replica.name)
        del connections.settings[replica.name]


def read_everywhere() -> None:
    for alias in ALL:
        assert Customer.objects.using(alias).count() == 0
        lease_connection(alias)  # As session state does: for the rest of the unit.


def leased() -> int:
    return sum(pool.stats().leased + pool.stats().warm for pool in registry.all())


def in_unit() -> None:
    with unit_of_work():
        read_everywhere()
        assert leased() == 3


def that_fails() -> None:
    with pytest.raises(ZeroDivisionError), unit_of_work():
        read_everywhere()
        raise ZeroDivisionError


def in_request() -> None:
    request_started.send(sender=None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/"})
    read_everywhere()
    request_finished.send(sender=None)


def in_request_on_other_threads() -> None:
    with unit_of_work():
        threads = [Thread(target=read_everywhere) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def in_command() -> None:
    class Command(BaseCommand):
        requires_system_checks = ()

        def handle(self, *args: Any, **options: Any) -> None:
            read_everywhere()

    call_command(Command())


def in_thread_that_ends() -> None:
    thread = threading.Thread(target=read_everywhere)
    thread.start()
    thread.join()


def in_cancelled_task() -> None:
    async def work(is_reading: asyncio.Event) -> None:
        async with unit_of_work():
            async for _ in Customer.objects.using("replica1").all():
                pass
            assert await Customer.objects.using("replica2").acount() == 0
            is_reading.set()
            await asyncio.Event().wait()

    async def main() -> None:
        is_reading = asyncio.Event()
        task = asyncio.create_task(work(is_reading))
        await is_reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_to_sync(main)()


def in_abandoned_generator() -> None:
    def rows() -> Iterator[Customer]:
        for alias in ALL:
            yield from Customer.objects.using(alias).raw("SELECT 1 AS id, 'Ada' AS name")

    with unit_of_work():
        generator = rows()
        next(generator)
        del generator
        gc.collect()


@pytest.mark.parametrize(
    "work",
    [
        in_unit,
        that_fails,
        in_request,
        in_request_on_other_threads,
        in_command,
        in_thread_that_ends,
        in_cancelled_task,
        in_abandoned_generator,
    ],
)
def test_nothing_is_leased_or_kept_warm_on_any_server(
    servers: Replication, work: Callable[[], None]
) -> None:
    work()
    assert leased() == 0


def test_a_forgotten_transaction_on_a_replica_is_rolled_back(servers: Replication) -> None:
    with unit_of_work():
        connections["replica1"].set_autocommit(False)
        assert Customer.objects.using("replica1").count() == 0
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    assert servers.replicas[0].ask(sessions) == 0
    connections["replica1"].close()
    assert leased() == 0


def test_a_thousand_jobs_never_exceed_the_bound_on_any_server(project: Replication) -> None:
    """As the servers count: eight threads share two connections to each."""
    name = "connmgr-jobs"
    for alias in ("default", REPLICA):
        connections.settings[alias]["OPTIONS"]["application_name"] = name
    most = dict.fromkeys(project.names, 0)
    is_over = threading.Event()

    def count() -> None:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        sessions = {server.name: server.connect(DATABASE) for server in project.servers}
        while not is_over.wait(0.002):
            for server, session in sessions.items():
                row = session.execute(sql, [name]).fetchone()
                most[server] = max(most[server], row[0] if row else 0)
        for session in sessions.values():
            session.close()

    def job(number: int) -> int:
        with unit_of_work():
            reads = Customer.objects.count()
            if number % 10 == 0:
                with transaction.atomic():
                    Customer.objects.create(name=f"Customer {number}")
                with using_primary():
                    reads += Customer.objects.filter(name=f"Customer {number}").count()
        for alias in ("default", REPLICA):
            connections[alias].close()
        return reads

    counter = threading.Thread(target=count)
    counter.start()
    try:
        with ThreadPoolExecutor(8) as executor:
            list(executor.map(job, range(1000)))
    finally:
        is_over.set()
        counter.join()
    assert Customer.objects.using("default").count() == 100
    assert all(0 < number <= 2 for number in most.values()), most
    assert all(pool.stats().timeouts == 0 for pool in registry.all())
