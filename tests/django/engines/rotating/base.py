"""An engine whose credentials change: it asks for them whenever it connects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.postgresql import base as stock

from django_connmgr.backends.postgresql.base import PooledPostgreSQL

#: Replaced by tests.
credentials: Callable[[], dict[str, Any]] = dict


class RotatingDatabaseWrapper(stock.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), **credentials()}


class DatabaseWrapper(PooledPostgreSQL, RotatingDatabaseWrapper):
    pass
