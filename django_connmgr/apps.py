"""The Django application. All that it does at start-up is in ``ready()``."""

from django.apps import AppConfig
from django.core.checks import register

from . import checks, integrations
from .units import commands, requests


class ConnMgrConfig(AppConfig):
    name = "django_connmgr"
    verbose_name = "Connection manager"

    def ready(self) -> None:
        for check in checks.IN_APP:
            register(check, "connmgr")
        requests.connect_receivers()
        requests.wrap_handlers()
        commands.wrap_commands()
        integrations.install_loaded()
