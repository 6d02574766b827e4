"""The Django application. All that it does at start-up is in ``ready()``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks as django_checks

from . import checks, integrations
from .units import commands, requests


class ConnMgrConfig(AppConfig):
    name = "django_connmgr"
    verbose_name = "Connection manager"

    def ready(self) -> None:
        self.register_checks()
        requests.connect_receivers()
        requests.wrap_handlers()
        commands.wrap_commands()
        integrations.install_loaded()

    def register_checks(self) -> None:
        for check in checks.IN_APP:
            django_checks.register(check, "connmgr")
