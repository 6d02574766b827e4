"""``ENGINE = "django_connmgr.backends.postgresql"``."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

from django.db import DEFAULT_DB_ALIAS
from django.db.backends.postgresql import base as stock
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from ...conf import given_option
from ..borrower import MOMENT
from ..credentials import is_refusal, source_of
from ..cursors import HOLDING
from ..driver import PhysicalDriver
from ..physical import Physical
from ..probe import Probe
from ..wrapper import PooledWrapper
from .names import application_name, is_named_by_user

#: The least that libpq takes for ``connect_timeout``, in seconds.
LEAST_CONNECT_TIMEOUT = 2
#: How long a connection that is no pool's waits for another thread that asks for credentials.
CREDENTIALS_TIMEOUT = 5.0
#: The ``application_name`` of the monitor's connections.
PROBE_NAME = "connmgr-probe"


def _driver_class() -> type[PhysicalDriver]:
    if is_psycopg3:
        from .psycopg3 import Psycopg3Driver

        return Psycopg3Driver
    from .psycopg2 import Psycopg2Driver

    return Psycopg2Driver


def _probe_class() -> Callable[[dict[str, Any]], Probe]:
    if is_psycopg3:
        from .probe3 import Probe3

        return Probe3
    from .probe2 import Probe2

    return Probe2


class PooledPostgreSQL(PooledWrapper):
    """Mixed in before any wrapper that is built on Django's for PostgreSQL."""

    driver_class = _driver_class()

    #: Django's own pool, which stays unused: to the stock methods there is none.
    pool: ClassVar[None] = None

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        if given_option(settings_dict, "behind") is not None:
            # Asked for in many places of Django's. What is set by hand stays, and a check tells.
            settings_dict.setdefault("DISABLE_SERVER_SIDE_CURSORS", True)
        super().__init__(settings_dict, alias)

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        source = source_of(self.settings_dict)
        if source is not None:
            opening = self.borrower.opening
            given = source.get(CREDENTIALS_TIMEOUT if opening is None else opening.timeout)
            params["password"] = given.password
            params["user"] = given.user or params.get("user")
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """As stock; once more with new credentials, if the server refuses older ones."""
        try:
            return super().get_new_connection(conn_params)
        except self.Database.Error as error:
            if not self.forget_credentials(self.settings_dict, error, conn_params.get("password")):
                raise
        return super().get_new_connection(self.get_connection_params())

    @classmethod
    def forget_credentials(
        cls, settings: dict[str, Any], error: BaseException, password: str | None = None
    ) -> bool:
        source = source_of(settings) if is_refusal(error) else None
        return source is not None and source.forget(password)

    def adjust_params(self, params: dict[str, Any], timeout: float) -> None:
        params.setdefault("connect_timeout", max(math.ceil(timeout), LEAST_CONNECT_TIMEOUT))
        params["cursor_factory"] = HOLDING[params["cursor_factory"]]
        if not is_named_by_user(params):
            label = self.settings_dict.get("LABEL")  # Of one of several servers.
            alias = f"{self.alias}@{label}" if label else self.alias
            params["application_name"] = application_name(alias)

    can_probe: ClassVar[bool] = True

    @classmethod
    def make_probe(cls, settings: dict[str, Any], alias: str) -> Probe:
        params = cls(settings, alias).get_connection_params()
        # Told apart from what is pooled, and bounded.
        return _probe_class()({**params, "application_name": PROBE_NAME})

    @classmethod
    def restrict_to_reading(cls, settings: dict[str, Any]) -> dict[str, Any]:
        options = settings["OPTIONS"]
        if given_option(settings, "behind") == "pgbouncer-transaction":
            return settings  # PgBouncer refuses what it cannot follow from server to server.
        given = options.get("options", "")
        restricted = f"{given} -c default_transaction_read_only=on".strip()
        return {**settings, "OPTIONS": {**options, "options": restricted}}

    def open_physical(self, timeout: float) -> Physical:
        physical = super().open_physical(timeout)
        role = self.settings_dict["OPTIONS"].get("assume_role")
        if role:
            physical.session = {**physical.session, "role": role}
        return physical

    def forget_session(self) -> None:
        # Wrappers of django-tenants are built on this one and remember their search path.
        if getattr(self, "search_path_set_schemas", None) is not None:
            self.search_path_set_schemas = None

    def ensure_timezone(self) -> bool:
        """As stock: this connection gets the time zone now, the others are opened anew."""
        pool = self.connection_pool
        if pool is not None:
            pool.recycle()
        if self.connection is None:
            return False
        self.borrower.begin(MOMENT)
        try:
            return bool(self._configure_timezone(self.connection))  # type: ignore[attr-defined]
        finally:
            self.borrower.end(MOMENT)


class DatabaseWrapper(PooledPostgreSQL, stock.DatabaseWrapper):
    """Django's PostgreSQL backend on pooled connections."""
