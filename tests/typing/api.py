"""The public API as its users' type checkers see it. Checked by mypy, never run."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from django_connmgr import (
    PoolError,
    PoolTimeout,
    Thread,
    ThreadPoolExecutor,
    dedicated,
    lease_connection,
    pools,
    release_connections,
    released,
    unit_of_work,
    with_connection,
    wrap_executor,
)

with with_connection() as wrapper:
    wrapper_: BaseDatabaseWrapper = wrapper

with with_connection("replica", timeout=0.5):
    pass


@with_connection()
def view(name: str) -> int:
    return len(name)


@with_connection(using="default")
async def async_view(name: str) -> int:
    async with with_connection() as held:
        held.ensure_connection()
        async with released():
            pass
    return len(name)


number: int = view("Ada")
leased: BaseDatabaseWrapper = lease_connection()
count: int = release_connections()
size: int = pools["default"].stats().size
owner: str = pools["default"].leases(stacks=True)[0].owner


@unit_of_work("nightly")
def task(day: int) -> str:
    with released(), dedicated("replica") as own:
        own.cursor()
    return str(day)


@released("replica")
def pause(seconds: float) -> float:
    return seconds


@released()
async def async_pause(seconds: float) -> float:
    return seconds


seconds: float = pause(1)
text: str = task(1)
with ThreadPoolExecutor(2) as executor:
    result: str = wrap_executor(executor).submit(task, 1).result()
thread: Thread = Thread(target=task, args=(1,))
error: PoolError = PoolTimeout("none")
