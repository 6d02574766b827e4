"""Management commands are units of work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, ClassVar

import pytest
from django.apps import apps
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, transaction
from django.test import Client, TestCase, override_settings

from django_connmgr import lease_connection, unit_of_work
from django_connmgr.signals import unit_finished
from django_connmgr.units.current import current_unit
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .process import Python
from .threads import ask, in_a_thread, taken


class Command(BaseCommand):
    requires_system_checks: ClassVar[list[str]] = []

    def __init__(self, handle: Callable[[], object]) -> None:
        super().__init__()
        self._handle = handle

    def handle(self, **options: object) -> None:
        self._handle()


def command(handle: Callable[[], object]) -> None:
    call_command(Command(handle))


def leased(pool: Pool) -> int:
    return taken(pool)


def test_its_end_releases(pool: Pool) -> None:
    def handle() -> None:
        lease_connection()
        assert leased(pool) == 1

    command(handle)
    assert leased(pool) == 0


def test_its_failure_releases(pool: Pool) -> None:
    def handle() -> None:
        lease_connection()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command(handle)
    assert leased(pool) == 0


def test_it_has_a_name_for_errors_and_signals(pool: Pool) -> None:
    told: list[tuple[str, dict[str, int]]] = []
    activities: list[str] = []

    def finished(unit: Any, **kwargs: Any) -> None:
        told.append((unit.name, dict(unit.counts)))

    def handle() -> None:
        activities.append(current_unit.get().name)
        ask()

    unit_finished.connect(finished)
    try:
        command(handle)
    finally:
        unit_finished.disconnect(finished)
    assert told == [("manage.py test_management", {"default": 1})]
    assert (activities, current_unit.get()) == (["manage.py test_management"], None)


def test_migrate_runs_where_permanent_checkouts_are_forbidden(pool_of: PoolOf) -> None:
    pool = pool_of(permanent_checkout="forbid")
    call_command("migrate", verbosity=0)
    assert (leased(pool), pool.stats().opened) == (0, 1)


def test_the_command_line_does_so_too(python: Python) -> None:
    done = python.manage("migrate", "--check", pool="permanent_checkout=forbid")
    assert (done.returncode, done.stderr) == (0, "")


def test_looking_for_migrations_before_a_server_starts_leaves_nothing_leased(
    pool_of: PoolOf,
) -> None:
    """With the reloader it is done on a thread that no command runs on."""
    pool = pool_of(permanent_checkout="forbid")
    seen: list[int] = []

    def start() -> None:
        BaseCommand().check_migrations()
        seen.append(leased(pool))

    in_a_thread(start)
    assert (seen, pool.stats().opened) == ([0], 1)


def test_inside_a_unit_it_releases_only_what_it_leased(pool_of: PoolOf, pool: Pool) -> None:
    second = pool_of("second", max_size=1)
    with unit_of_work("request") as unit:
        backend = ask()
        command(lambda: ask(using="second"))
        assert (leased(pool), leased(second)) == (1, 0)
        assert (ask(), current_unit.get()) == (backend, unit)


class InsideATestCase(TestCase):
    def test_nothing_is_released(self) -> None:
        Customer.objects.create(name="Ada")
        mine = ask()
        command(lambda: Customer.objects.create(name=str(ask())))
        assert set(Customer.objects.values_list("name", flat=True)) == {"Ada", str(mine)}


def test_inside_a_transaction_nothing_is_released(pool: Pool) -> None:
    with transaction.atomic():
        backend = ask()
        command(lambda: Customer.objects.create(name="Ada"))
        assert (ask(), leased(pool)) == (backend, 1)
    assert Customer.objects.get().name == "Ada"


def test_called_by_a_script_it_leaves_what_the_script_holds(pool: Pool) -> None:
    def script() -> tuple[int, str, int]:
        cursor = connection.cursor()
        cursor.execute("SET application_name = 'script'")
        cursor.execute("SELECT generate_series(1, 2)")
        cursor.fetchone()
        command(ask)
        second = cursor.fetchone()[0]
        cursor.close()
        command(ask)
        return second, ask("SHOW application_name"), leased(pool)

    assert in_a_thread(script) == (2, "script", 1)


def test_what_nothing_holds_is_released_when_the_first_begins(pool: Pool) -> None:
    def script() -> list[int]:
        ask()
        counts = [leased(pool)]
        command(lambda: counts.append(leased(pool)))
        return counts

    assert in_a_thread(script) == [1, 0]


def test_rounds_of_its_loop_may_be_units_while_it_reads(pool: Pool) -> None:
    for name in ("Ada", "Bob"):
        Customer.objects.create(name=name)
    connection.close()
    seen: list[str] = []

    def handle() -> None:
        for name in Customer.objects.order_by("name").values_list("name", flat=True).iterator(1):
            with unit_of_work(name):
                seen.append(name)

    in_a_thread(lambda: command(handle))
    assert (seen, leased(pool)) == (["Ada", "Bob"], 0)


def test_threads_that_inherit_its_context_lease_for_it(pool: Pool) -> None:
    """As every thread does on free-threaded Python."""
    has_leased, may_end = threading.Event(), threading.Event()

    def work() -> None:
        lease_connection()
        has_leased.set()
        assert may_end.wait(30)

    thread = threading.Thread()

    def handle() -> None:
        nonlocal thread
        thread = threading.Thread(target=copy_context().run, args=(work,))
        thread.start()
        assert has_leased.wait(30)
        assert leased(pool) == 1

    command(handle)
    assert leased(pool) == 0
    may_end.set()
    thread.join(30)


@override_settings(ROOT_URLCONF="tests.django.urls")
def test_requests_inside_it_are_units_of_their_own(pool: Pool) -> None:
    """Those of ``runserver``, where threads inherit contexts, and of ``test``."""

    def handle() -> None:
        unit = current_unit.get()
        assert Client().get("/backend/").json()["leased"] == 1
        assert leased(pool) == 0
        assert current_unit.get() is unit

    command(handle)


def test_an_application_that_is_made_ready_twice_wraps_once() -> None:
    before = BaseCommand.execute, BaseCommand.check_migrations
    apps.get_app_config("django_connmgr").ready()
    assert (BaseCommand.execute, BaseCommand.check_migrations) == before
