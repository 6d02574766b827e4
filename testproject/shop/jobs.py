"""Work in background threads, which no request waits for."""

from __future__ import annotations

import logging
import threading

from .models import Order

logger = logging.getLogger("testproject.shop.jobs")


def start_receipt(pk: int) -> threading.Thread:
    """Write the receipt of an order in the background."""
    thread = threading.Thread(target=write_receipt, args=(pk,), name=f"receipt-{pk}")
    thread.start()
    return thread


def write_receipt(pk: int) -> None:
    """Queries in a thread that ends without giving its connection back.

    Better code would say ``with with_connection():``, because no request ends here. A pool that
    relies on that would lose one connection for each receipt; django-connmgr's pool loses none.
    """
    order = Order.objects.select_related("customer").get(pk=pk)
    logger.info("Receipt for %s: %s, %s", order.customer, order, order.amount)
