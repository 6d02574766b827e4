"""Work that nobody waits for, in threads that nobody looks after."""

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
    """No request ends here, so nothing gives the connection back; nor does this function.

    Better code would say ``with with_connection():``. With a pool that trusts its users,
    this one would cost a connection each time. Here the pool notices that the thread has
    ended, takes the connection back, and logs whose it was.
    """
    order = Order.objects.select_related("customer").get(pk=pk)
    logger.info("Receipt for %s: %s, %s", order.customer, order, order.amount)
