"""Settings of the tests. The server's address is filled in when a test asks for a database."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

SECRET_KEY = "not a secret"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "testproject.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_connmgr", "testproject.shop"]
MIDDLEWARE = ["testproject.shop.middleware.DatabaseErrorMiddleware"]
PAYMENT_SECONDS = 0.0

_directory = Path(tempfile.gettempdir())

# Where no process of another run is seen. Short: the path of a socket has to fit in.
_runtime = tempfile.mkdtemp(prefix="connmgr-")
atexit.register(shutil.rmtree, _runtime, ignore_errors=True)
CONNMGR = {"RUNTIME_DIR": _runtime}

DATABASES = {
    "default": {
        "ENGINE": "django_connmgr.backends.postgresql",
        "NAME": "connmgr",
        "USER": "connmgr",
        "OPTIONS": {"pool": {"max_size": 4}},
    },
    "second": {
        "ENGINE": "django_connmgr.backends.postgresql",
        "NAME": "connmgr",
        "USER": "connmgr",
        "OPTIONS": {"pool": {"max_size": 2}},
        "TEST": {"NAME": "test_second"},
    },
    "file": {
        "ENGINE": "django_connmgr.backends.sqlite3",
        "NAME": str(_directory / "connmgr-unused.sqlite3"),
        "OPTIONS": {"pool": {"max_size": 3}},
    },
}
