"""Loads what registers the tasks with the runner under test."""

from __future__ import annotations

import os
from importlib import import_module

from django.apps import AppConfig


class RunnersConfig(AppConfig):
    name = "tests.runners"

    def ready(self) -> None:
        from . import work

        if os.environ["ROLE"] == "work":
            work.begin()
        if os.environ["RUNNER"]:
            import_module(f"tests.runners.adapters.{os.environ['RUNNER']}")
