"""Send tasks to the runner: ``python -m tests.runners.send NAME ...``."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import django

if __name__ == "__main__":
    django.setup()
    adapter = import_module(f"tests.runners.adapters.{os.environ['RUNNER']}")
    for name in sys.argv[1:]:
        adapter.send(name)
