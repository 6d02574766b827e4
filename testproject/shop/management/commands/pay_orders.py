"""``manage.py pay_orders``: pay the orders that are still unpaid."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_connmgr import with_connection

from ...models import Order
from ...payments import pay_order


class Command(BaseCommand):
    help = "Pays the oldest unpaid orders."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=100, help="Pay this many at most.")

    def handle(self, *args: Any, **options: Any) -> str:  # noqa: ARG002
        with with_connection():
            unpaid = Order.objects.filter(is_paid=False).order_by("pk")
            pks = list(unpaid.values_list("pk", flat=True)[: options["limit"]])
        # No connection is held here; each payment leases one twice, for one query each.
        for pk in pks:
            pay_order(pk)
        return f"Paid {len(pks)} order{'' if len(pks) == 1 else 's'}."
