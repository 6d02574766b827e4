"""django-debug-toolbar's own settings, with the engine swapped."""

from tests.settings import *  # noqa: F403 - the suite's, from its source distribution
from tests.settings import INSTALLED_APPS

from . import server, swap, unittest_results

swap.install()
unittest_results.install()
if server.pool() is not None:
    # Its tests of system checks expect no warning, such as that this is missing.
    INSTALLED_APPS = [*INSTALLED_APPS, "django_connmgr"]
