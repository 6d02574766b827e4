"""A site with the admin, on the servers that the environment names."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [
    "django_connmgr",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "testproject.shop",
]
MIDDLEWARE = [
    "django_connmgr.middleware.UnitOfWorkMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.replicas.site.urls"
STATIC_URL = "static/"
DATABASES = json.loads(os.environ["DATABASES"])
DATABASE_ROUTERS = ["django_connmgr.routers.ReplicaRouter"]
CONNMGR = {"PROBE_INTERVAL": 0.05}
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
