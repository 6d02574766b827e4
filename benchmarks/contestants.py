"""The contestants: what each one needs, and how its documentation says it is set up."""

from __future__ import annotations

import functools
import importlib.metadata
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .barepools import (
    BarePool,
    connmgr_pool,
    lock_and_deque,
    psycopg_pool,
    queue_pool,
)

#: Installs everything that a contestant may need from the package index.
INSTALL_GROUP = "pip install --group benchmarks"


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """What a scenario asks of a contestant's pool; the rest is as its documentation says."""

    size: int
    #: Connections that are there from the start; ``None``: all of them, as for a steady load.
    min_size: int | None = None
    #: Whether connections are checked before they are used, where a contestant has that option.
    checks: bool = False
    #: Seconds to wait for a connection, where the default is too short for the scenario.
    timeout: float | None = None

    @property
    def timeout_option(self) -> dict[str, Any]:
        return {} if self.timeout is None else {"timeout": self.timeout}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    name: str
    title: str
    is_ours: bool = False
    #: Distributions that must be installed.
    packages: tuple[str, ...] = ()
    #: Libraries of Ruby that must be installed, and Debian's names of their packages.
    gems: tuple[str, ...] = ()
    #: Its entries of ``DATABASES["default"]``, beside the server's address.
    database: Callable[[PoolSettings], dict[str, Any]] | None = None
    #: Whether a gate lets only as many queries through at once as a pool would have connections.
    is_gated: bool = False
    #: Its pool without Django and without a server.
    bare_pool: Callable[[int], BarePool] | None = None

    def versions(self) -> dict[str, str]:
        """What is installed of what it needs; raises ``Missing``."""
        found = {}
        for package in self.packages:
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                raise Missing(f"{package} is not installed: {INSTALL_GROUP}") from None
        if self.gems:
            found.update(_gem_versions(self.gems))
        return found


class Missing(Exception):
    """Something that is needed is not installed; says how to install it."""


@functools.cache
def _gem_versions(gems: tuple[str, ...]) -> dict[str, str]:
    packages = " ".join(f"ruby-{gem}" for gem in gems)
    missing = Missing(f"Ruby's {' and '.join(gems)} are not installed: apt-get install {packages}")
    ruby = shutil.which("ruby")
    if ruby is None:
        raise missing
    code = "ARGV.each { |name| gem name; puts Gem.loaded_specs[name].version }"
    done = subprocess.run([ruby, "-e", code, *gems], capture_output=True, text=True, check=False)
    if done.returncode:
        raise missing
    return dict(zip(gems, done.stdout.split(), strict=True))


def program_missing(program: str) -> str | None:
    """What to do about a program that is not installed; ``None`` if it is."""
    if shutil.which(program) is None:
        return f"{program} is not installed: apt-get install {program}"
    return None


# How each is set up for Django.


def _ours(settings: PoolSettings) -> dict[str, Any]:
    pool = {"max_size": settings.size, **settings.timeout_option}
    return {"ENGINE": "django_connmgr.backends.postgresql", "OPTIONS": {"pool": pool}}


def _ours_by_transaction(settings: PoolSettings) -> dict[str, Any]:
    pool = {"max_size": settings.size, "release": "transaction", **settings.timeout_option}
    return {"ENGINE": "django_connmgr.backends.postgresql", "OPTIONS": {"pool": pool}}


def _stock(max_age: int | None) -> Callable[[PoolSettings], dict[str, Any]]:
    def database(settings: PoolSettings) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "CONN_MAX_AGE": max_age,
            "CONN_HEALTH_CHECKS": settings.checks,
        }

    return database


def _psycopg_options(settings: PoolSettings) -> dict[str, Any]:
    # Of a fixed size, as its documentation advises for a steady load.
    least = settings.size if settings.min_size is None else settings.min_size
    return {"pool": {"min_size": least, "max_size": settings.size, **settings.timeout_option}}


def _django_pool(settings: PoolSettings) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "CONN_HEALTH_CHECKS": settings.checks,
        "OPTIONS": _psycopg_options(settings),
    }


def _real_pool(settings: PoolSettings) -> dict[str, Any]:
    return {
        "ENGINE": "django_pg_real_pool",
        "CONN_HEALTH_CHECKS": settings.checks,
        "OPTIONS": _psycopg_options(settings),
    }


def _db_connection_pool(settings: PoolSettings) -> dict[str, Any]:
    # Its pings are a round trip for each connection handed out, so only where all others check too.
    return {
        "ENGINE": "dj_db_conn_pool.backends.postgresql",
        "POOL_OPTIONS": {
            "POOL_SIZE": settings.size,
            "MAX_OVERFLOW": 0,
            "PRE_PING": settings.checks,
        },
    }


def _geventpool(settings: PoolSettings) -> dict[str, Any]:
    options = {"MAX_CONNS": settings.size, "REUSE_CONNS": settings.size, "pool": False}
    return {"ENGINE": "django_db_geventpool.backends.postgresql_psycopg3", "OPTIONS": options}


_ALL = (
    Contestant(
        name="ours",
        title="django-connmgr",
        is_ours=True,
        packages=("psycopg",),
        database=_ours,
        bare_pool=connmgr_pool,
    ),
    Contestant(
        name="ours-transaction",
        title='django-connmgr, release="transaction"',
        is_ours=True,
        packages=("psycopg",),
        database=_ours_by_transaction,
    ),
    Contestant(
        name="stock",
        title="Django, CONN_MAX_AGE=0",
        packages=("psycopg",),
        database=_stock(0),
    ),
    Contestant(
        name="stock-persistent",
        title="Django, CONN_MAX_AGE=None",
        packages=("psycopg",),
        database=_stock(None),
    ),
    Contestant(
        name="gated",
        title="Django, CONN_MAX_AGE=None, behind a gate",
        packages=("psycopg",),
        database=_stock(None),
        is_gated=True,
    ),
    Contestant(
        name="django-pool",
        title="Django's pool",
        packages=("psycopg", "psycopg-pool"),
        database=_django_pool,
    ),
    Contestant(
        name="real-pool",
        title="django-pg-real-pool",
        packages=("django-pg-real-pool", "psycopg-pool"),
        database=_real_pool,
    ),
    Contestant(
        name="db-connection-pool",
        title="django-db-connection-pool",
        packages=("django-db-connection-pool", "SQLAlchemy"),
        database=_db_connection_pool,
    ),
    Contestant(
        name="geventpool",
        title="django-db-geventpool",
        packages=("django-db-geventpool", "gevent"),
        database=_geventpool,
    ),
    Contestant(
        name="psycopg_pool",
        title="psycopg_pool",
        packages=("psycopg-pool", "psycopg"),
        bare_pool=psycopg_pool,
    ),
    Contestant(
        name="queuepool",
        title="SQLAlchemy QueuePool",
        packages=("SQLAlchemy",),
        bare_pool=queue_pool,
    ),
    Contestant(name="lock+deque", title="a lock and a deque", bare_pool=lock_and_deque),
    Contestant(name="bare", title="psycopg connections, no Django", packages=("psycopg",)),
    Contestant(name="active-record", title="Active Record", gems=("activerecord", "pg")),
)

CONTESTANTS = {contestant.name: contestant for contestant in _ALL}
