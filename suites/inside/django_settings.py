"""Settings for Django's own tests: two databases on one server."""

from __future__ import annotations

from typing import Any

from . import proof, server

_pool = server.pool()
_address = server.address()
_database: dict[str, Any] = {
    **_address,
    "ENGINE": "django.db.backends.postgresql",
}
if _pool is not None:
    _database["ENGINE"] = "django_connmgr.backends.postgresql"
    _database["OPTIONS"] = {"pool": _pool}
    proof.install()

DATABASES = {
    "default": _database,
    "other": {**_database, "NAME": f"{_address['NAME']}_other"},
}
SECRET_KEY = "of no use"  # noqa: S105
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
