"""django-debug-toolbar's own settings, with the engine swapped."""

from tests.settings import *  # noqa: F403 - the suite's, from its source distribution
from tests.settings import INSTALLED_APPS

from . import server, swap  # noqa: F401 - importing ``swap`` is all that it takes

if server.pool() is not None:
    # Its tests of system checks expect no warning, such as that this is missing.
    INSTALLED_APPS = [*INSTALLED_APPS, "django_connmgr"]
