"""``DATABASES``, from the environment."""

from __future__ import annotations

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

EXAMPLE = "postgres://user:password@host:port/name"


def parse_url(url: str) -> dict[str, Any]:
    """The settings that a database URL stands for. Errors do not quote it: it has a password."""
    try:
        config: dict[str, Any] = environ.Env.db_url_config(url)
    except ValueError:
        config = {}
    if not config.get("ENGINE"):
        raise ImproperlyConfigured(f"DATABASE_URL is not a URL such as {EXAMPLE}.")
    return config


def default_database(env: environ.Env, *, fallback: str) -> dict[str, Any]:
    """The database of ``DATABASE_URL``, pooled unless ``DATABASE_ENGINE`` says otherwise."""
    config = parse_url(env.str("DATABASE_URL", default="") or fallback)
    vendor = "sqlite3" if "sqlite3" in config["ENGINE"] else "postgresql"
    config["ENGINE"] = env.str("DATABASE_ENGINE", default=f"django_connmgr.backends.{vendor}")
    pool = env.dict("DATABASE_POOL", default={})
    if pool:
        config.setdefault("OPTIONS", {})["pool"] = pool
    return config


def with_replicas(default: dict[str, Any], servers: list[str]) -> dict[str, dict[str, Any]]:
    """The primary, which is any of several servers, and the others to read from.

    ``servers`` are like ``"name=host:port"``. Which of them is the primary may change.
    """
    named = [server.partition("=")[::2] for server in servers]
    addresses = [(name, *address.rpartition(":")[::2]) for name, address in named]
    hosts = [{"LABEL": name, "HOST": host, "PORT": port} for name, host, port in addresses]
    options = {**default.get("OPTIONS", {}), "target_session_attrs": "read-write"}
    replica = {
        "ENGINE": default["ENGINE"],
        "OPTIONS": {"replica_of": "default", "hosts": hosts},
        "TEST": {"MIRROR": "default"},
    }
    primary = {
        **default,
        "HOST": ",".join(host for _, host, _ in addresses),
        "PORT": ",".join(port for _, _, port in addresses),
        "OPTIONS": options,
    }
    return {"default": primary, "replica": replica}
