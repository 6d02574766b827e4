"""An engine on top of a pooled one that sets the schema for each cursor, as django-tenants does."""

from __future__ import annotations

from typing import Any

from django_connmgr.backends.postgresql import base as pooled


class DatabaseWrapper(pooled.DatabaseWrapper):
    schema = "public"

    def _cursor(self, name: str | None = None) -> Any:
        cursor = super()._cursor(name)
        with self.connection.cursor() as plain:
            plain.execute(f"SET search_path = {self.schema}")
        return cursor
