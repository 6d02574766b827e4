"""Consumers of Django Channels, with Django itself beside them."""

from __future__ import annotations

import asyncio

from .asgi import application as django_application  # First: it sets up Django.

# isort: split

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.db import transaction
from django.urls import path

from django_connmgr import lease_connection
from django_connmgr.units.current import find_unit

from .views import aask, ask


def in_transaction() -> str:
    with transaction.atomic():
        return ask()


def kept() -> str:
    lease_connection()
    return ask()


def unit() -> str:
    found = find_unit()
    return found.name if found else ""


QUERIES = {"ask": ask, "in_transaction": in_transaction, "kept": kept, "unit": unit}


class Async(AsyncWebsocketConsumer):
    async def receive(self, text_data: str = "", bytes_data: object = None) -> None:
        if text_data == "fail":
            await aask()
            raise ValueError("as it should")
        if text_data == "async":
            answer = await aask()
        elif text_data == "threads":
            answer = (await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(8))))[0]
        else:
            answer = await database_sync_to_async(QUERIES[text_data])()
        await self.send(answer)


class Sync(WebsocketConsumer):
    def receive(self, text_data: str = "", bytes_data: object = None) -> None:
        if text_data == "fail":
            ask()
            raise ValueError("as it should")
        self.send(QUERIES[text_data]())

    def disconnect(self, code: int) -> None:
        ask()


sockets = URLRouter([path("async", Async.as_asgi()), path("sync", Sync.as_asgi())])
application = ProtocolTypeRouter({"http": django_application, "websocket": sockets})
