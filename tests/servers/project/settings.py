"""Settings of the project that the servers serve; the test says the rest in the environment."""

from __future__ import annotations

import json
import os
import warnings

SECRET_KEY = "not a secret"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.servers.project.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
WSGI_APPLICATION = "tests.servers.project.wsgi.application"
INSTALLED_APPS = [
    "django_connmgr",
    "tests.servers.project",
    *json.loads(os.environ.get("PROJECT_APPS", "[]")),
]

DATABASES = {
    "default": {
        "ENGINE": "django_connmgr.backends.postgresql",
        **json.loads(os.environ["PROJECT_DATABASE"]),
        "OPTIONS": {"pool": json.loads(os.environ.get("PROJECT_POOL", "{}"))},
    },
}

CONNMGR = json.loads(os.environ.get("PROJECT_CONNMGR", "{}"))

# A 404 is no news here; everything else that is logged fails the test.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"level": "ERROR", "handlers": ["stderr"]}},
}

# ASGI reads files as a whole, and Django says so each time.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume")
