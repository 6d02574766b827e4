"""How a suite reaches its databases, and by which engine: it comes by the environment."""

from __future__ import annotations

import json
import os
from typing import Any

#: Environment variables: ``DATABASES`` with Django's engines; the options of the pool, which are
#: missing for Django's own engine.
DATABASES = "SUITES_DATABASES"
POOL = "SUITES_POOL"

#: Django's engines, and ours instead.
ENGINES = {
    "django.db.backends.postgresql": "django_connmgr.backends.postgresql",
    "django.db.backends.sqlite3": "django_connmgr.backends.sqlite3",
}


def databases() -> dict[str, dict[str, Any]]:
    """``DATABASES`` with the aliases ``default`` and ``other``, on Django's engine."""
    found: dict[str, dict[str, Any]] = json.loads(os.environ[DATABASES])
    return found


def pool() -> dict[str, Any] | None:
    """``OPTIONS["pool"]``; ``None`` if the engine is Django's own."""
    found: dict[str, Any] | None = json.loads(os.environ.get(POOL, "null"))
    return found
