"""Scripts in processes of their own: for forks, exits, signals and commands."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from testproject.cluster import Cluster

from ..recording import recording

ROOT = Path(__file__).resolve().parents[2]

_PRELUDE = """\
import gc, os, signal, sys, threading, time
{hide}
import django
django.setup()
from django.core.signals import request_finished, request_started
from django.db import OperationalError, connection, connections, transaction
from django_connmgr import *
from testproject.shop.models import Customer, Order

def taken(pool):
    stats = pool.stats()
    return stats.leased + stats.warm

def ask(sql="SELECT pg_backend_pid()"):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]

"""

_HIDE = {"psycopg": "", "psycopg2": "sys.modules['psycopg'] = None"}


class Python:
    """Runs a script with the example project set up, and fails on anything on stderr.

    ``import *`` of the package, the models, ``taken(pool)``, and ``ask(sql)``, which returns the
    first value of the first row, are there for the script. ``driver="psycopg2"`` hides psycopg 3.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def environment(
        self, *, url: str | None = None, pool: str = "", engine: str = ""
    ) -> dict[str, str]:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "testproject.settings",
            "DATABASE_URL": self.cluster.url if url is None else url,
        }
        environment.pop("DATABASE_POOL", None)
        environment.pop("DATABASE_ENGINE", None)
        if pool:
            environment["DATABASE_POOL"] = pool
        if engine:
            environment["DATABASE_ENGINE"] = engine
        return environment

    def __call__(
        self,
        script: str,
        *,
        url: str | None = None,
        pool: str = "",
        engine: str = "",
        driver: str = "psycopg",
        status: int = 0,
        stderr_has: str = "",
        settings: str = "testproject.settings",
    ) -> str:
        """Run it, see that it ends with ``status``, return what it printed.

        Each line on stderr has to have ``stderr_has`` in it; so by default there may be none.
        """
        code = _PRELUDE.format(hide=_HIDE[driver]) + textwrap.dedent(script)
        environment = self.environment(url=url, pool=pool, engine=engine)
        environment["DJANGO_SETTINGS_MODULE"] = settings
        if driver == "psycopg2" and "fork" not in script:
            environment |= recording()  # Nothing else of the tests runs on that driver.
        done = self.run(
            # Forking with threads is what some of them are about.
            "-W", "ignore:This process:DeprecationWarning", "-c", code,
            environment=environment,
        )  # fmt: skip
        all_said = f"{done.stdout}\n{done.stderr}\nexit status {done.returncode}"
        assert done.returncode == status, all_said
        lines = done.stderr.splitlines()
        assert all(stderr_has and stderr_has in line for line in lines), all_said
        return done.stdout

    def manage(
        self,
        *arguments: str,
        url: str | None = None,
        pool: str = "",
        engine: str = "",
        settings: str = "testproject.settings",
    ) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py``."""
        environment = self.environment(url=url, pool=pool, engine=engine)
        environment["DJANGO_SETTINGS_MODULE"] = settings
        return self.run("manage.py", *arguments, environment=environment)

    def run(self, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
