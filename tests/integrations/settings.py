"""Settings of the workers under test: the example project's, with a replica."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES

DATABASES["default"]["OPTIONS"] = {"pool": {"max_size": 12}}
DATABASES["replica"] = {**DATABASES["default"], "OPTIONS": {"pool": {"max_size": 12}}}
