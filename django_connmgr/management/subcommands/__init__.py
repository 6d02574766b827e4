"""The subcommands of ``manage.py connmgr``, one module each with two functions."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Protocol

from . import replicas, status


class Subcommand(Protocol):
    """A module whose docstring is the subcommand's help."""

    __doc__: str | None

    def add_arguments(self, parser: ArgumentParser) -> None: ...

    def run(self, options: dict[str, Any]) -> str:
        """Do it, and return what is to be printed."""


SUBCOMMANDS: dict[str, Subcommand] = {"status": status, "replicas": replicas}
