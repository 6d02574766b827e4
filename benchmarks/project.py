"""A Django project on one contestant's engine."""

from __future__ import annotations

import json
import os
from typing import Any

from .contestants import Contestant, PoolSettings
from .server import APPLICATION, Address


def databases(
    contestant: Contestant, server: Address, settings: PoolSettings, aliases: int = 1
) -> dict[str, Any]:
    """``DATABASES``: ``default``, and as many more as are wanted, all alike."""
    if contestant.database is None:
        raise ValueError(f"{contestant.name} is no engine for Django")
    entries = contestant.database(settings)
    options = {"application_name": APPLICATION, **entries.get("OPTIONS", {})}
    database = {
        "HOST": server.host,
        "PORT": str(server.port),
        "USER": server.user,
        "PASSWORD": server.password,
        "NAME": server.name,
        **entries,
        "OPTIONS": options,
    }
    return dict.fromkeys(["default", *(f"other{n}" for n in range(1, aliases))], database)


def environment(databases: dict[str, Any]) -> dict[str, str]:
    """Environment variables for ``benchmarks.settings``."""
    return {
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "BENCHMARKS_DATABASES": json.dumps(databases),
    }


def set_up(databases: dict[str, Any]) -> None:
    """Make this process a Django process."""
    os.environ.update(environment(databases))
    import django

    django.setup()
