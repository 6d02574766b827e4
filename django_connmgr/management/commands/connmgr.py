"""``manage.py connmgr``: look at the pools."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ..subcommands import SUBCOMMANDS


class Command(BaseCommand):
    help = "Inspects connection pools."
    requires_system_checks = ()  # It is for when something is wrong.

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(
            title="subcommands", dest="subcommand", required=True, metavar="{status}"
        )
        for name, subcommand in SUBCOMMANDS.items():
            summary = (subcommand.__doc__ or "").strip()
            subparser = subparsers.add_parser(name, help=summary, description=summary)
            subcommand.add_arguments(subparser)

    def handle(self, *args: Any, **options: Any) -> str:  # noqa: ARG002
        answer: str = SUBCOMMANDS[options["subcommand"]].run(options)
        return answer
