"""How a suite reaches the server, and by which engine: all of it comes by the environment."""

from __future__ import annotations

import json
import os
from typing import Any

#: Environment variables: host, port and so on as ``DATABASES`` names them; the options of the
#: pool, which are missing for Django's own engine.
ADDRESS = "SUITES_ADDRESS"
POOL = "SUITES_POOL"


def address() -> dict[str, Any]:
    """``USER``, ``PASSWORD``, ``HOST``, ``PORT`` and ``NAME``."""
    found: dict[str, Any] = json.loads(os.environ[ADDRESS])
    return found


def pool() -> dict[str, Any] | None:
    """``OPTIONS["pool"]``; ``None`` if the engine is Django's own."""
    found: dict[str, Any] | None = json.loads(os.environ.get(POOL, "null"))
    return found
