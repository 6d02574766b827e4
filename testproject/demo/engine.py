"""The two ways to serve the shop that are compared."""

from __future__ import annotations

import enum
import os


class Engine(enum.Enum):
    POOLED = "django-connmgr"
    STOCK = "stock Django"

    @property
    def application_name(self) -> str:
        """The name that the server lists the connections of the serving process under."""
        return f"shop-{self.name.lower()}"

    def environment(self, url: str) -> dict[str, str]:
        """The environment of a process that serves the shop this way."""
        environment = {**os.environ, "DATABASE_URL": url, "PGAPPNAME": self.application_name}
        if self is Engine.POOLED:
            environment.setdefault("DATABASE_POOL", "max_size=5,timeout=15")
            environment.pop("DATABASE_ENGINE", None)
        else:
            environment.pop("DATABASE_POOL", None)  # It would turn on Django's own pool.
            environment["DATABASE_ENGINE"] = "django.db.backends.postgresql"
        return environment
