"""The Django application. All that it does at start-up is in ``ready()``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks as django_checks

from . import checks, integrations, work


class ConnMgrConfig(AppConfig):
    name = "django_connmgr"
    verbose_name = "Connection manager"

    def ready(self) -> None:
        self.register_checks()
        work.connect_receivers()
        work.wrap_handlers()
        work.wrap_commands()
        integrations.install_loaded()

    def register_checks(self) -> None:
        for check in checks.IN_APP:
            django_checks.register(check, "connmgr")
