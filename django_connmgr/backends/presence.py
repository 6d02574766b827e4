"""The one check for those who do not have the application, and so none of its other checks."""

from typing import Any

from django.apps import apps
from django.core import checks
from django.db import connections


def check_app_installed(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """W001: an engine of ours is used, and the application that belongs to it is not."""
    # Of the class: to ask a wrapper would look at its options, which may be wrong.
    is_used = any(hasattr(type(connections[alias]), "connection_pool") for alias in connections)
    if apps.is_installed("django_connmgr") or not is_used:
        return []
    return [
        checks.Warning(
            "DATABASES uses a django_connmgr engine, but 'django_connmgr' is not in "
            "INSTALLED_APPS: its checks, its signal receivers and 'manage.py connmgr' are missing.",
            hint="Add 'django_connmgr' to INSTALLED_APPS.",
            id="connmgr.W001",
        )
    ]
