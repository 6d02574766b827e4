"""Settings of the workers under test: two aliases of one database, and a runner's own app.

``RUNNER`` names the runner; without it, the apps of all that have tables are there, to make these.
"""

from __future__ import annotations

import importlib.util
import os

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES as GIVEN

RUNNER = os.environ["RUNNER"]

#: Tables are made for those.
WITH_TABLES = {
    "django_q": "django_q",
    "django_tasks_db": "django_tasks_db",
    "procrastinate": "procrastinate.contrib.django",
}
OTHERS = {"huey": "huey.contrib.djhuey"}
if RUNNER:
    apps = [app for name, app in {**WITH_TABLES, **OTHERS}.items() if name == RUNNER]
else:
    apps = [app for name, app in WITH_TABLES.items() if importlib.util.find_spec(name)]
ROOT_URLCONF = __name__
urlpatterns: list[object] = []
INSTALLED_APPS = ["django_connmgr", *apps, "tests.runners"]


def database(name: str) -> dict[str, object]:
    """By its name the server tells who connects."""
    name = f"{os.environ['ROLE']}-{os.environ['NAME']}-{name}"
    options = {"pool": {"max_size": 8}, "application_name": name}
    return {**GIVEN["default"], "OPTIONS": options}


DATABASES = {alias: database(alias) for alias in ("default", "second", "queue")}

HUEY = {
    "name": os.environ["NAME"],
    "immediate": False,
    "connection": {"url": os.environ["BROKER_URL"]},
    "consumer": {"periodic": False},
}
Q_CLUSTER = {
    "name": os.environ["NAME"],
    "redis": os.environ["BROKER_URL"],
    "workers": 2,
    "timeout": 10,
    "retry": 60,
    "guard_cycle": 0.1,
    "save_limit": -1,
    "ack_failures": True,
    "max_attempts": 1,
}
PROCRASTINATE_DATABASE_ALIAS = "queue"
if RUNNER == "django_tasks_db":
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
