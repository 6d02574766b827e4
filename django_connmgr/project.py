"""What the processes of one project have in common: its name."""

from django.conf import settings

from .app_settings import app_settings


def project_name() -> str:
    """``CONNMGR["PROJECT"]``, or the first part of ``ROOT_URLCONF``; raises nothing."""
    urls = getattr(settings, "ROOT_URLCONF", "") or "django"
    return app_settings().PROJECT or str(urls).partition(".")[0]
