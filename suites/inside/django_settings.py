"""Settings for Django's own tests: two databases of one kind."""

from __future__ import annotations

import django

from . import proof, server, unittest_results

DATABASES = server.databases()
if (_pool := server.pool()) is not None:
    for _database in DATABASES.values():
        _database["ENGINE"] = server.ENGINES[_database["ENGINE"]]
        _database["OPTIONS"] = {"pool": _pool}
    proof.install()
unittest_results.install()

SECRET_KEY = "of no use"  # noqa: S105
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if django.VERSION < (6, 0):  # Until then it was not Django's own default.
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
