"""Which unit of work code belongs to, across tasks and threads."""

from __future__ import annotations

import asyncio

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from django_connmgr.units.current import find_unit
from django_connmgr.units.requests import on_request_finished, on_request_started

SCOPE = {"method": "GET", "path": "/"}


def test_an_asgi_request_sees_its_unit_though_the_signal_came_from_a_task_of_its_own() -> None:
    """As Django up to 5.2 sends it."""

    async def request() -> None:
        async with ThreadSensitiveContext():
            await asyncio.gather(sync_to_async(on_request_started)(scope=SCOPE))
            unit = find_unit()
            assert repr(unit) == "<Unit 'GET /', running>"
            assert await asyncio.to_thread(find_unit) is unit
            await asyncio.gather(sync_to_async(on_request_finished)())
            assert repr(unit) == "<Unit 'GET /', over>"
            assert await asyncio.to_thread(find_unit) is unit, "for threads that it leaves behind"
        assert find_unit() is None

    asyncio.run(request())


def test_asgi_requests_at_once_do_not_see_each_others_units() -> None:
    async def request(path: str) -> None:
        async with ThreadSensitiveContext():
            await asyncio.gather(sync_to_async(on_request_started)(scope={**SCOPE, "path": path}))
            await barrier.wait()
            assert repr(find_unit()) == f"<Unit 'GET {path}', running>"
            await barrier.wait()
            await asyncio.gather(sync_to_async(on_request_finished)())

    async def requests() -> None:
        await asyncio.gather(*(request(path) for path in ("/a", "/b")))
        assert find_unit() is None

    barrier = asyncio.Barrier(2)
    asyncio.run(requests())
