"""A third party's engine, as PostGIS is one, and our three lines to pool it."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base as stock
from django.db.backends.postgresql.features import DatabaseFeatures
from django.db.backends.postgresql.operations import DatabaseOperations

from django_connmgr.backends.postgresql.base import PooledPostgreSQL


class GeographicFeatures(DatabaseFeatures):
    gis_enabled = True


class GeographicOperations(DatabaseOperations):
    geography = True


class GeographicDatabaseWrapper(stock.DatabaseWrapper):
    features_class = GeographicFeatures
    ops_class = GeographicOperations

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared = 0

    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        self.types_registered_on = connection.info.backend_pid
        return connection

    def prepare_database(self) -> None:
        self.prepared += 1


class DatabaseWrapper(PooledPostgreSQL, GeographicDatabaseWrapper):
    pass
