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
