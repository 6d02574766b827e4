"""Settings of the example project, from the environment.

``DATABASE_URL``    where the database is; without it a SQLite file is used
``DATABASE_POOL``   pool options, such as ``max_size=10,timeout=2.5``
``DATABASE_SERVERS`` a primary and its replicas, such as ``a=10.0.0.1:5432,b=10.0.0.2:5432``
``REPLICA_WAIT``    for how many seconds a read waits for a replica to show a write
``DATABASE_ENGINE`` another engine for the same database, to compare it with
``PAYMENT_SECONDS`` how long the payment provider takes to answer
"""

from __future__ import annotations

from pathlib import Path

import environ

from .databases import default_database, with_replicas

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

SECRET_KEY = env.str("SECRET_KEY", default="only-for-the-example-project")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"
ASGI_APPLICATION = "testproject.asgi.application"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = ["django_connmgr", "testproject.shop"]
MIDDLEWARE = ["testproject.shop.middleware.DatabaseErrorMiddleware"]

DATABASES = {"default": default_database(env, fallback=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}

# The example has no users: each client on this machine may see the page of connections.
CONNMGR: dict[str, object] = {
    "PAGE_ACCESS": "testproject.access.is_local",
    "PAGE_STEERING": "testproject.access.is_local",
}

servers = env.list("DATABASE_SERVERS", default=[])
if servers:
    DATABASES = with_replicas(DATABASES["default"], servers)
    DATABASE_ROUTERS = ["django_connmgr.routers.ReplicaRouter"]
    CONNMGR["WAIT"] = env.float("REPLICA_WAIT", default=0.05)
    MIDDLEWARE = ["django_connmgr.middleware.UnitOfWorkMiddleware", *MIDDLEWARE]

PAYMENT_SECONDS = env.float("PAYMENT_SECONDS", default=0.05)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
