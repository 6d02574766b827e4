"""The example project with users, as a project that serves the page to its staff."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403
from testproject.settings import CONNMGR, INSTALLED_APPS

INSTALLED_APPS = [
    *INSTALLED_APPS,
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
CONNMGR = {key: value for key, value in CONNMGR.items() if not key.startswith("PAGE_")}
