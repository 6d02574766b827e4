"""django-tenants' own settings, with the engine that its own stands on swapped, by its setting."""

from dts_test_project.settings import *  # noqa: F403 - the suite's, from its source distribution
from dts_test_project.settings import DATABASES

from . import server, swap, unittest_results

_default = server.databases()["default"]
if server.pool() is not None:
    ORIGINAL_BACKEND = server.ENGINES[_default["ENGINE"]]
del _default["ENGINE"]
DATABASES["default"] |= _default
swap.install()
unittest_results.install()
