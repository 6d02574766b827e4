"""What applications do with connections, and which option makes it work on a small pool."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from testproject.cluster import Cluster

from .launch import GTHREAD, UVICORN, Kind, Reply, serving

SERVED = Reply(200, "heap")
SIX = 6


def test_six_threads_that_query_then_work_share_two_connections(cluster: Cluster) -> None:
    with serving(cluster, GTHREAD, 2) as server:
        server.get_many(*["busy/?seconds=0.1"] * 2)  # Both connections are open now.
        before = server.settled()
        assert server.get_many(*["work/"] * SIX) == [SERVED] * SIX
        after = server.settled()
    assert after["opened"] == 2
    assert after["wait_seconds"] - before["wait_seconds"] < 0.1


def test_without_reclaiming_some_time_out_unless_they_release_for_their_other_work(
    cluster: Cluster,
) -> None:
    pool = {"reclaim": False, "timeout": 1}
    with serving(cluster, GTHREAD, 2, pool=pool, trouble="PoolTimeout") as server:
        replies = server.get_many(*["work/"] * SIX)
        assert sorted(reply.status for reply in replies) == [200] * 2 + [500] * (SIX - 2)
        assert server.settled()["timeouts"] == SIX - 2
        assert server.get_many(*["work_released/"] * SIX) == [SERVED] * SIX
        assert server.settled()["timeouts"] == SIX - 2


def test_leases_that_end_with_each_transaction_need_no_reclaiming(cluster: Cluster) -> None:
    pool = {"reclaim": False, "timeout": 1, "release": "transaction"}
    with serving(cluster, GTHREAD, 2, pool=pool) as server:
        assert server.get_many(*["work/"] * SIX) == [SERVED] * SIX
        stats = server.settled()
    assert (stats["timeouts"], stats["reclaimed"]) == (0, 0)


@pytest.mark.parametrize("kind", [GTHREAD, UVICORN], ids=lambda kind: kind.name)
def test_what_is_being_sent_leases_nothing_but_for_its_own_queries(
    cluster: Cluster, kind: Kind, tmp_path: Path
) -> None:
    """More responses are being sent than the pool has connections, and none waits for another."""
    path = "astream/" if kind.is_async else "stream/"
    paths = [path, path, *([] if kind.is_async else ["large_file/"] * 2)]
    with serving(cluster, kind, 2, pool={"reclaim": False, "timeout": 1}) as server:
        assert server.get("silent_stream/").text == "0\n"
        assert server.get("leases_between_steps/").text == "0 0\n0 0\n"
        with contextlib.ExitStack() as stack:
            for path in paths:
                opened = stack.enter_context(server.opened(f"{path}?until={tmp_path / 'over'}"))
                assert opened.readline()
            assert server.settled()["timeouts"] == 0
            assert server.get("query/") == SERVED
            (tmp_path / "over").touch()
        server.settled()
