"""``manage.py demo``: the shop under load on a few connections, next to stock Django."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ....demo.database import DemoError
from ....demo.failover import run_failover
from ....demo.rounds import run_demo
from ....demo.summary import broken_by, render_story

#: Clients at once with replicas: each sends requests without a pause.
MOST_VISITORS = 8


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM.

    Not ``KeyboardInterrupt``, because ``subprocess`` then does not wait for its process to end.
    """


class Command(BaseCommand):
    help = "Serves the shop to many clients on a few connections, breaks things, and counts."
    requires_system_checks = ()  # The demo uses another database than the one of these settings.

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--clients", type=int, default=64, help="Clients at once.")
        parser.add_argument("--requests", type=int, default=1000, help="Requests in each round.")
        parser.add_argument(
            "--page",
            action="store_true",
            help="Leave the page of connections open until you press Enter.",
        )
        parser.add_argument(
            "--replicas",
            action="store_true",
            help="On a primary and two standbys, which are broken one after the other.",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        try:
            broken = self._run(options)
        except DemoError as error:
            raise CommandError(str(error)) from error
        except Interrupted:
            raise CommandError("Interrupted; everything is cleaned up.", returncode=130) from None
        if broken:
            raise CommandError("The pool failed:\n" + "\n".join(f"  {line}" for line in broken))
        self.stdout.write(self.style.SUCCESS("The pool kept its promises."))

    def _run(self, options: dict[str, Any]) -> list[str]:
        """Show the one or the other; returns what went wrong."""
        clients = options["clients"]
        if not options["replicas"]:
            return run_demo(
                self.stdout,
                clients=clients,
                requests=max(1, options["requests"]),
                keeps_page=options["page"],
            )
        story = run_failover(self.stdout, clients=min(clients, MOST_VISITORS))
        self.stdout.write("\n" + render_story(story))
        return broken_by(story)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler
    """Interrupt once: a second signal must not interrupt the cleaning up."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    raise Interrupted
