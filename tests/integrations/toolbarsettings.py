"""The example project with django-debug-toolbar."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

DEBUG = True
INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.staticfiles", "debug_toolbar"]
MIDDLEWARE = ["debug_toolbar.middleware.DebugToolbarMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "static/"
INTERNAL_IPS = ["127.0.0.1"]
ROOT_URLCONF = "tests.integrations.toolbarurls"
DEBUG_TOOLBAR_PANELS = ["django_connmgr.instrumentation.toolbar.ConnectionsPanel"]
