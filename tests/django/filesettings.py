"""The example project's settings, with a test database in a file beside the real one."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES

DATABASES["default"]["TEST"] = {"NAME": f"{DATABASES['default']['NAME']}.test"}
