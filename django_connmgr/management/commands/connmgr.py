"""``manage.py connmgr``: look at the pools of running processes, and steer them."""

import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..subcommands import (
    budget,
    doctor,
    killing,
    leases,
    replicas,
    server,
    status,
    steering,
    waiters,
    watch,
)
from ..subcommands.outcome import Failed

#: Modules, or objects like them, whose docstring is the help: ``add_arguments(parser)`` adds their
#: own arguments, and ``run(options)`` returns what is to be printed.
SUBCOMMANDS: dict[str, Any] = {
    "status": status,
    "watch": watch,
    "leases": leases,
    "waiters": waiters,
    "recycle": steering.recycle,
    "drain": steering.drain,
    "suspend": steering.suspend,
    "resume": steering.resume,
    "resize": steering.resize,
    "kill-lease": killing,
    "replicas": replicas,
    "server": server,
    "budget": budget,
    "doctor": doctor,
}


class Command(BaseCommand):
    help = "Inspects and steers the connection pools of running processes."
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
        try:
            answer: str = SUBCOMMANDS[options["subcommand"]].run(options)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        except Failed as failed:
            self.stdout.write(str(failed))
            sys.exit(1)
        return answer
