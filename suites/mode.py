"""The modes that are compared with Django's own engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Django's own engine, without a pool.
STOCK = "stock"

#: ``OPTIONS["pool"]`` of each mode.
MODES: Mapping[str, Mapping[str, Any]] = {
    'release="request"': {"release": "request", "max_size": 4},
    'release="transaction"': {"release": "transaction", "max_size": 4},
    "max_size=1": {"max_size": 1},
    'reset="session"': {"reset": "session", "max_size": 4},
}
