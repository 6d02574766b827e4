"""Passwords stay where they belong."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections

from django_connmgr import PoolTimeout, pools, release_connections
from testproject.cluster import Cluster

from .threads import ask, in_a_thread

SECRET = "correct-horse-battery"


def test_no_error_log_or_number_tells_a_password(
    alias_of: Callable[..., str],
    own_cluster: Cluster,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    pool_options = {
        "max_size": 1,
        "min_size": 1,
        "timeout": 0.01,
        "check_after": 0,
        "reclaim": False,
    }
    good = alias_of(own_cluster, OPTIONS={"pool": pool_options})
    bad = alias_of(own_cluster, PASSWORD=SECRET)
    told: list[str] = []

    def note(*things: object) -> None:
        told.extend(f"{thing!s} {thing!r}" for thing in things)

    with pytest.raises(OperationalError) as refused:
        ask(using=bad)
    ask(using=good)
    with pytest.raises(PoolTimeout) as exhausted:
        in_a_thread(lambda: ask(using=good))
    release_connections()
    pool = pools[good]
    own_cluster.stop()
    pool.maintain()
    with pytest.raises(OperationalError) as unreachable:
        ask(using=good)
    pool.recycle()
    pool.maintain()
    for caught in (refused, exhausted, unreachable):
        error: BaseException | None = caught.value
        while error is not None:
            note(error)
            error = error.__cause__
    for alias in (good, bad):
        note(pools[alias], pools[alias].stats(), pools[alias].driver, connections[alias])
    note(pools)
    out = io.StringIO()
    call_command("connmgr", "status", "--json", stdout=out)
    note(out.getvalue(), caplog.text)
    text = "\n".join(told)
    assert "could not connect in the background" in caplog.text
    assert SECRET not in text
    assert own_cluster.password not in text
