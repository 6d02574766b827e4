"""``manage.py fill_shop``: made-up customers and orders."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from ...models import Customer, Order

NAMES = ("Ada", "Barbara", "Edsger", "Grace", "Katherine", "Konrad", "Margaret", "Niklaus")


class Command(BaseCommand):
    help = "Replaces all customers and orders of the shop with made-up ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--orders", type=int, default=400, help="Make this many orders.")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> str:  # noqa: ARG002
        Customer.objects.all().delete()
        customers = Customer.objects.bulk_create(Customer(name=name) for name in NAMES)
        Order.objects.bulk_create(
            Order(customer=customers[number % len(customers)], amount=5 + number % 90)
            for number in range(options["orders"])
        )
        return f"The shop has {len(customers)} customers and {options['orders']} orders."
