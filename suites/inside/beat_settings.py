"""django-celery-beat's own settings, on our server, with the engine swapped."""

from t.proj.settings import *  # noqa: F403 - the suite's, from its source distribution

from . import server

DATABASES = server.databases()
del DATABASES["other"]
