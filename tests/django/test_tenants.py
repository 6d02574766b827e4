"""django-tenants on pooled connections, where it is installed: no tenant sees another's rows."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from testproject.cluster import Cluster

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("django_tenants") is None, reason="django-tenants is not installed"
)

SCRIPT = """\
import sys, threading
import django
from django.conf import settings

host, port, password, reset, limit = sys.argv[1:]
settings.configure(
    SECRET_KEY="not a secret",
    USE_TZ=True,
    INSTALLED_APPS=["django_connmgr", "django.contrib.contenttypes"],
    ORIGINAL_BACKEND="django_connmgr.backends.postgresql",
    TENANT_LIMIT_SET_CALLS=limit == "True",
    DATABASES={"default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": "postgres", "USER": "connmgr", "HOST": host, "PORT": port, "PASSWORD": password,
        "OPTIONS": {"pool": {"max_size": 1, "reset": reset, "timeout": 30}},
    }},
)
django.setup()
from django.db import connection, transaction
from django_connmgr import pools, release_connections, unit_of_work

def ask(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]

def run(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)

names = ("ada", "bob")
for name in names:
    run(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    run(f"CREATE SCHEMA {name}; CREATE TABLE {name}.owner AS SELECT '{name}'::text AS name")
release_connections()
turns = {name: threading.Semaphore(name == "ada") for name in names}
served = []

def serve(name, other):
    # The tenant is chosen once and kept by the wrapper, as in a thread of a worker.
    connection.set_schema(name)
    for number in range(100):
        assert turns[name].acquire(timeout=30)
        with unit_of_work():
            if number % 3 == 1:
                with transaction.atomic():
                    seen = {ask("SELECT name FROM owner"), ask("SELECT name FROM owner")}
            elif number % 3 == 2:
                with connection.chunked_cursor() as cursor:
                    cursor.execute("SELECT name FROM owner")
                    seen = {cursor.fetchone()[0]}
            else:
                seen = {ask("SELECT name FROM owner"), ask("SELECT name FROM owner")}
        served.append((name, *seen))
        turns[other].release()

threads = [threading.Thread(target=serve, args=pair) for pair in (names, names[::-1])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(40)
wrong = [turn for turn in served if turn != (turn[0],) * 2]
for name in names:
    run(f"DROP SCHEMA {name} CASCADE")
print(len(served), wrong[:3], pools["default"].stats().opened < 4)
"""


@pytest.mark.parametrize("limit", [True, False], ids=["remembered", "always set"])
@pytest.mark.parametrize("reset", ["rollback", "session"])
def test_two_tenants_share_one_connection(cluster: Cluster, reset: str, limit: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", SCRIPT, cluster.host, str(cluster.port),
         cluster.password, reset, str(limit)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("200 [] True\n", 0), done.stderr
