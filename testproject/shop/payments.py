"""Paying an order, at a payment provider that is slow to answer."""

from __future__ import annotations

import time
from decimal import Decimal

from django.conf import settings

from django_connmgr import with_connection

from .models import Order


def pay_order(pk: int) -> Order:
    """Charge an order and mark it paid. Raises ``Order.DoesNotExist``.

    The connection is held for the two short queries. While the provider is asked, other
    threads can use it.
    """
    with with_connection():
        order = Order.objects.get(pk=pk)
    if not order.is_paid:
        charge(f"order-{order.pk}", order.amount)
        order.is_paid = True
        with with_connection():
            order.save(update_fields=["is_paid"])
    return order


def charge(key: str, amount: Decimal) -> None:  # noqa: ARG001 - a stand-in
    """Have the provider charge ``amount``, once per ``key`` even if it is asked again."""
    time.sleep(settings.PAYMENT_SECONDS)
