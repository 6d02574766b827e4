"""The Django application. All that it does at start-up is in ``ready()``."""

from django.apps import AppConfig
from django.core.checks import Tags, register

from . import budget_check, checks, integrations, pooler_check, replica_checks
from .inspection import opening, signal_report
from .units import commands, requests


class ConnMgrConfig(AppConfig):
    name = "django_connmgr"
    verbose_name = "Connection manager"

    def ready(self) -> None:
        for check in (*checks.IN_APP, *replica_checks.IN_APP, pooler_check.check_poolers):
            register(check, "connmgr")
        for check in (*replica_checks.WITH_DATABASE, budget_check.check_budget):
            register(check, Tags.database)
        requests.connect_receivers()
        requests.wrap_handlers()
        commands.wrap_commands()
        integrations.install_loaded()
        opening.install()
        signal_report.install()
