"""The panel of django-debug-toolbar, and the check for django-health-check."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections
from django.template import Context, Engine

from testproject.cluster import Cluster

from .conftest import ROOT, require

require("debug_toolbar", "health_check")


@pytest.fixture(autouse=True)
def database(django_db_setup: None, django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock():
        yield
        for connection in connections.all():
            connection.close()


def select(seconds: float = 0) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def panel_of() -> Any:
    from django_connmgr.instrumentation.toolbar import ConnectionsPanel

    saved: dict[str, Any] = {}
    store = SimpleNamespace(save_panel=lambda _, __, stats: saved.update(stats))
    toolbar = SimpleNamespace(stats={}, store=store, request_id="1")
    return ConnectionsPanel(toolbar, lambda request: None)


def test_it_tells_how_long_a_connection_was_held_and_what_for() -> None:
    from django_connmgr import with_connection

    panel = panel_of()
    panel.enable_instrumentation()
    with with_connection():
        select(0.05)
        select()
        time.sleep(0.1)
    select()
    panel.disable_instrumentation()
    panel.generate_stats(None, None)
    held, short = panel.get_stats()["leases"]
    assert (held["pool"], held["queries"], short["queries"]) == ("default", 2, 1)
    assert held["held_ms"] > 150 > held["query_ms"] > 50
    assert held["backend"] == short["backend"]
    assert short["held_ms"] < 50
    assert panel.nav_subtitle.startswith("2 leased, ")
    assert connections["default"].execute_wrappers == []
    html = Engine(app_dirs=True).get_template(panel.template).render(Context(panel.get_stats()))
    assert "<td>default</td>" in html


def test_without_queries_there_is_nothing_to_tell() -> None:
    panel = panel_of()
    panel.enable_instrumentation()
    panel.disable_instrumentation()
    panel.generate_stats(None, None)
    assert panel.nav_subtitle == "none leased"
    html = Engine(app_dirs=True).get_template(panel.template).render(Context(panel.get_stats()))
    assert "No query was made" in html


def test_it_stands_in_the_toolbar_of_a_page(cluster: Cluster) -> None:
    script = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from django.test import Client\n"
        "call_command('migrate', verbosity=0)\n"
        "print(Client().get('/').content.decode())\n"
    )
    settings = "tests.integrations.toolbarsettings"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": settings, "DATABASE_URL": cluster.url},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"<small>\s*1 leased, [\d.]+ ms", done.stdout), done.stdout


def test_a_health_check_fails_while_a_pool_is_not_ready() -> None:
    from health_check.exceptions import ServiceUnavailable

    from django_connmgr import pools
    from django_connmgr.instrumentation.health_check import ConnectionPools

    select()
    asyncio.run(ConnectionPools().run())
    pools["default"].suspend()
    try:
        with pytest.raises(ServiceUnavailable, match="default: It is suspended"):
            asyncio.run(ConnectionPools().run())
    finally:
        pools["default"].resume()
