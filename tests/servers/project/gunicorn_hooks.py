"""As the guide says: warm before the first request, drained at the end."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    from django_connmgr import pools

    assert pools.warm(timeout=10) == {"default": 2}


def worker_exit(server: Any, worker: Any) -> None:
    from django_connmgr import pools

    assert pools.drain(timeout=10)
