"""``manage.py connmgr``: look at the pools."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ..subcommands import replicas, status

#: Modules whose docstring is the help: ``add_arguments(parser)`` adds their own arguments, and
#: ``run(options)`` returns what is to be printed.
SUBCOMMANDS: dict[str, Any] = {"status": status, "replicas": replicas}


class Command(BaseCommand):
    help = "Inspects connection pools and replicas."
    requires_system_checks = ()  # It is for when something is wrong.

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(
            title="subcommands",
            dest="subcommand",
            required=True,
            metavar=f"{{{','.join(SUBCOMMANDS)}}}",
        )
        for name, subcommand in SUBCOMMANDS.items():
            summary = subcommand.__doc__
            subcommand.add_arguments(subparsers.add_parser(name, help=summary, description=summary))

    def handle(self, *args: Any, **options: Any) -> str:  # noqa: ARG002
        answer: str = SUBCOMMANDS[options["subcommand"]].run(options)
        return answer
