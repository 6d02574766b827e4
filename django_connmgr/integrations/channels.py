"""Django Channels: every message that a consumer handles is one unit of work.

Channels gives back what ``database_sync_to_async()`` and a sync consumer leased, after each call,
by Django's ``close_old_connections()``. It does so for one thread, and for an async consumer only
before its next message: what its handler leases by Django's async methods or on other threads is
given back by the unit.
"""

from typing import Any

from channels.consumer import AsyncConsumer, SyncConsumer

from ..units import hook


def install() -> None:
    """Make the messages of all consumers of this process units of work. Idempotent.

    Called when Django is set up, if Channels is loaded by then: put it into ``INSTALLED_APPS``.
    """
    for consumer_class in (AsyncConsumer, SyncConsumer):
        hook(consumer_class, "dispatch", _name_of)


def _name_of(consumer: Any, message: Any) -> str:
    return f"{type(consumer).__qualname__}: {message.get('type', '')}"
