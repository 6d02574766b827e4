"""A server that is there and does not answer."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connections

from django_connmgr import PoolTimeout
from testproject.cluster import Cluster

from .threads import ask


@contextlib.contextmanager
def frozen(cluster: Cluster, *backends: int) -> Iterator[None]:
    """Stop the server's process, and these backends, for the length of the block."""
    cluster.pause()
    for backend in backends:
        os.kill(backend, signal.SIGSTOP)
    try:
        yield
    finally:
        for backend in backends:
            os.kill(backend, signal.SIGCONT)
        cluster.unpause()


def test_a_checkout_from_a_frozen_server_ends_within_its_deadline(
    alias_of: Callable[..., str], own_cluster: Cluster
) -> None:
    alias = alias_of(own_cluster, OPTIONS={"pool": {"check_after": 0, "timeout": 0.5}})
    backend = ask(using=alias)
    connections[alias].close()
    with frozen(own_cluster, backend):
        started = time.monotonic()
        with pytest.raises(PoolTimeout, match="see whether it can be reached"):
            ask(using=alias)
        # Connecting anew would take libpq two seconds at least.
        assert time.monotonic() - started < 1.5
    assert connections[alias].connection_pool.stats().size == 0
    assert ask(using=alias) != backend
