"""The example project's settings with a replica, which tests see as a mirror of the primary."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES

DATABASES["replica"] = {**DATABASES["default"], "TEST": {"MIRROR": "default"}}
