"""The example project, which writes a report when it gets a signal."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403

CONNMGR = {"REPORT_SIGNAL": "SIGUSR2"}
