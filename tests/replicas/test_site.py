"""A whole site in a process of its own: its commands, its admin, its forks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testproject.cluster import USER
from testproject.replication import Replication

from ..recording import recording

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "site"
ENGINE = "django_connmgr.backends.postgresql"

_PRELUDE = """\
import os, sys, threading, time
{hide}
import django
django.setup()
from django.core.management import call_command
from django.db import connection, connections
from django_connmgr import *
from django_connmgr.registry import registry
from testproject.shop.models import Customer

def port(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT inet_server_port()")
        return cursor.fetchone()[0]

"""


_HIDE = {"psycopg": "", "psycopg2": "sys.modules['psycopg'] = None"}


class Site:
    """Runs scripts with the site set up."""

    def __init__(self, replication: Replication) -> None:
        self.replication = replication

    def databases(self) -> dict[str, Any]:
        primary = self.replication.primary
        hosts = [{"HOST": one.host, "PORT": str(one.port)} for one in self.replication.replicas]
        return {
            "default": {
                "ENGINE": ENGINE,
                "NAME": DATABASE,
                "USER": USER,
                "PASSWORD": primary.password,
                "HOST": primary.host,
                "PORT": str(primary.port),
                "OPTIONS": {"pool": {"max_size": 2}},
            },
            "replica": {
                "ENGINE": ENGINE,
                "OPTIONS": {"pool": {"max_size": 2}, "replica_of": "default", "hosts": hosts},
                "TEST": {"MIRROR": "default"},
            },
        }

    def run(self, script: str, *, has_replicas: bool = True, driver: str = "psycopg") -> str:
        databases = self.databases()
        if not has_replicas:
            del databases["replica"]
        environment = {
            **os.environ,
            **recording(),
            "DJANGO_SETTINGS_MODULE": "tests.replicas.site.settings",
            "DATABASES": json.dumps(databases),
        }
        prelude = _PRELUDE.format(hide=_HIDE[driver])
        done = subprocess.run(
            [sys.executable, "-c", prelude + textwrap.dedent(script)],
            check=False,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout


@pytest.fixture(scope="module")
def built(replication: Replication) -> Iterator[Site]:
    """Its database has all tables, and a user."""
    replication.heal()
    with replication.primary.connect() as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    site = Site(replication)
    site.run("""
        call_command("migrate", verbosity=0)
        from django.contrib.auth.models import User
        User.objects.create_superuser("ada", password="secret")
        assert {pool.name for pool in registry.all()} == {"default"}
    """)
    yield site
    replication.heal()
    with replication.primary.connect() as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def site(built: Site) -> Site:
    built.replication.await_replayed()
    return built


def test_migrate_flush_and_loaddata_never_open_a_connection_to_a_replica(
    site: Site, tmp_path: Path
) -> None:
    fixture = tmp_path / "customers.json"
    rows = [{"model": "shop.customer", "pk": 1, "fields": {"name": "Ada"}}]
    fixture.write_text(json.dumps(rows))
    site.run(f"""
        from django.contrib.auth.models import User
        call_command("migrate", verbosity=0)
        call_command("loaddata", {str(fixture)!r}, verbosity=0)
        assert Customer.objects.using("default").count() == 1
        call_command("flush", interactive=False, verbosity=0)
        assert Customer.objects.using("default").count() == 0
        User.objects.create_superuser("ada", password="secret")
        assert {{pool.name for pool in registry.all()}} == {{"default"}}
    """)


@pytest.mark.parametrize("is_atomic", [False, True])
def test_a_row_that_was_added_in_the_admin_is_in_the_list_that_follows(
    site: Site, is_atomic: bool
) -> None:
    """With ATOMIC_REQUESTS, too: the token is of after the commit."""
    for replica in site.replication.replicas:
        replica.pause_replay()
    site.run(f"""
        from django.contrib.auth.models import User
        from django.test import Client
        client, other = Client(), Client()
        for one in (client, other):
            one.force_login(User.objects.using("default").get())
            one.cookies.pop("connmgr_token", None)
        connections.settings["default"]["ATOMIC_REQUESTS"] = {is_atomic}
        response = client.post("/admin/shop/customer/add/", {{"name": "Grace"}})
        assert response.url == "/admin/shop/customer/"
        assert "connmgr_token" in client.cookies
        # Or reads would be in a transaction on the primary.
        connections.settings["default"]["ATOMIC_REQUESTS"] = False
        assert b"Grace</a>" in client.get(response.url).content
        seen = other.get(response.url)
        assert seen.status_code == 200
        assert b"Grace</a>" not in seen.content
        call_command("flush", interactive=False, verbosity=0)
        User.objects.create_superuser("ada", password="secret")
    """)


def test_a_forked_child_reads_from_replicas_with_probes_of_its_own(site: Site) -> None:
    site.run("""
        from django_connmgr.backends.monitor import monitor_of

        def see():
            with unit_of_work():
                seen = port("replica")
            deadline = time.monotonic() + 10
            while not all(status.replayed for status in replicas().status()):
                assert time.monotonic() < deadline, replicas().status()
                time.sleep(0.01)
            return seen

        ports = {see()}
        before = [target.probe.fileno() for target in monitor_of("default")._targets]
        assert len(before) == 3
        child = os.fork()
        if not child:
            assert not monitor_of("default")._targets
            role = connections["replica"].reader.role
            assert not role.hosts.is_probed
            for host in role.hosts.all:
                host.replayed = None
            see()
            assert role.hosts.is_probed
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
        # The parent's connections go on.
        for host in connections["replica"].reader.role.hosts.all:
            host.replayed = None
        see()
        assert [target.probe.fileno() for target in monitor_of("default")._targets] == before
    """)


def test_the_background_thread_closes_what_lies_idle_in_the_pool_of_each_host(site: Site) -> None:
    site.run("""
        for settings in connections.settings.values():
            settings["OPTIONS"]["pool"] = {"max_size": 2, "max_idle": 0.1, "reap_interval": 0.05}
        ports = set()
        while len(ports) < 2:
            with unit_of_work():
                ports.add(port("replica"))
        deadline = time.monotonic() + 10
        while any(pool.stats().size for pool in registry.all()):
            assert time.monotonic() < deadline, [pool.stats() for pool in registry.all()]
            time.sleep(0.01)
        assert len(registry.all()) == 2
    """)


def test_without_replicas_there_is_no_query_more_and_no_thread(site: Site) -> None:
    site.run(
        """
        from django.contrib.auth.models import User
        from django.db.backends.signals import connection_created
        from django.test import Client
        from django.test.utils import CaptureQueriesContext
        from django_connmgr.backends import monitor
        client = Client()
        client.force_login(User.objects.get())
        with CaptureQueriesContext(connection) as captured:
            client.post("/admin/shop/customer/add/", {"name": "Edsger"})
        assert not any("pg_" in query["sql"] for query in captured.captured_queries)
        assert "connmgr_token" not in client.cookies
        assert not monitor._monitors
        assert {pool.name for pool in registry.all()} == {"default"}
        assert registry.all()[0].stats().opened == 1
    """,
        has_replicas=False,
    )


def test_replicas_that_cannot_be_reached_at_the_start_are_down_and_no_crash(site: Site) -> None:
    for replica in site.replication.replicas:
        replica.kill()
    site.run(f"""
        for _ in range(3):
            with unit_of_work():
                assert port("replica") == {site.replication.primary.port}
        assert [status.state for status in replicas().status()] == ["down", "down"]
    """)


@pytest.mark.parametrize("driver", _HIDE)
def test_both_drivers_ask_servers_and_carry_tokens(site: Site, driver: str) -> None:
    paused, other = site.replication.replicas
    paused.pause_replay()
    site.run(
        f"""
        from django.db.backends.postgresql.psycopg_any import is_psycopg3
        assert is_psycopg3 == ({driver!r} == "psycopg")

        def await_status(condition):
            deadline = time.monotonic() + 10
            while not condition(*replicas().status()):
                assert time.monotonic() < deadline, replicas().status()
                time.sleep(0.01)

        with unit_of_work():
            port("replica")
        await_status(lambda first, second: first.replayed and second.replayed)
        with unit_of_work():
            customer = Customer.objects.create(name="Ada")
            token = current_token()
        await_status(lambda first, second: first.lag_bytes and first.lag_seconds > 0.1)
        await_status(lambda first, second: second.lag_bytes == 0)
        for _ in range(6):
            with unit_of_work():
                assert require_token(token)
                assert port("replica") == {other.port}
                assert Customer.objects.get(pk=customer.pk)._state.db == "replica"
        customer.delete()
        """,
        driver=driver,
    )
    paused.resume_replay()
    other.kill()
    site.run(
        f"""
        with unit_of_work():
            assert port("replica") != {other.port}
        deadline = time.monotonic() + 10
        while [status.state for status in replicas().status()] != ["up", "down"]:
            assert time.monotonic() < deadline, replicas().status()
            time.sleep(0.01)
        """,
        driver=driver,
    )
