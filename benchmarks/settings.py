"""Django's settings of every turn; the databases come from ``project.environment()``."""

from __future__ import annotations

import json
import os

SECRET_KEY = "only-for-the-benchmarks"  # noqa: S105 - it keeps nothing secret
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "benchmarks.site"
# Of the peers' routers.
REPLICA_DATABASES = REPLICATED_DATABASE_SLAVES = ["replica"]
REPLICATED_DATABASE_DOWNTIME, REPLICATED_CHECK_STATE_ON_WRITE = 60, False
DATABASES = json.loads(os.environ["BENCHMARKS_DATABASES"])
IS_OURS = DATABASES["default"]["ENGINE"].startswith("django_connmgr.")
INSTALLED_APPS = [*(["django_connmgr"] if IS_OURS else []), "testproject.shop"]
