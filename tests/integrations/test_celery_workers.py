"""Workers of every kind, with a broker and a server."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from testproject.cluster import Cluster

from .conftest import Worker, eventually, require

require("celery", "redis", "gevent")

ALIASES = ("default", "replica")
CONCURRENCY = {"prefork": 2, "threads": 2, "gevent": 4, "solo": 1}
TASKS = 200
#: One checkout of each alias.
ONCE = {"default": 1, "replica": 1}


def only(*kinds: str) -> pytest.MarkDecorator:
    """For what only some kinds of workers know how to do."""
    return pytest.mark.parametrize("worker", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module", params=CONCURRENCY)
def worker(
    request: pytest.FixtureRequest,
    logging_cluster: Cluster,
    broker_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Worker]:
    kind = request.param
    directory = tmp_path_factory.mktemp(kind)
    worker = Worker(kind, CONCURRENCY[kind], logging_cluster, broker_url, directory)
    try:
        yield worker
    finally:
        worker.stop()
        sys.stdout.write(worker.log_file.read_text()[-20000:])  # Shown if something failed.


@pytest.fixture(autouse=True)
def nothing_is_leased_afterwards(worker: Worker) -> Iterator[None]:
    yield
    assert_nothing_is_leased(worker)


def assert_nothing_is_leased(worker: Worker) -> None:
    """Not by the thread that ended a unit, and not by any process once all is quiet."""
    assert [unit for unit in worker.notes("unit") if unit["kept"]] == []

    def is_quiet() -> bool:
        return not any(taken for pools in worker.reports().values() for taken in pools.values())

    eventually(is_quiet, "A connection is still leased.")


def expire(worker: Worker) -> dict[str, int]:
    """Have the worker revoke a task; returns which server processes answered its hook."""
    before = len(hooks(worker, "never"))
    with pytest.raises(Exception, match="expired"):
        worker.run("never", expires=-1)
    eventually(lambda: len(hooks(worker, "never")) > before, "The hook did not run.")
    notes = [note for note in worker.notes("hook") if note["hook"] == "task_revoked"]
    answers: dict[str, int] = notes[-1]["answers"]
    return answers


def units(worker: Worker, name: str) -> list[dict[str, int]]:
    """What the finished units of that name have leased."""
    full_name = f"tests.integrations.celery_app.{name}"
    return [unit["used"] for unit in worker.notes("unit") if unit["unit"] == full_name]


def hooks(worker: Worker, name: str) -> list[str]:
    """The hooks that ran for a task."""
    full_name = f"tests.integrations.celery_app.{name}"
    return [note["hook"] for note in worker.notes("hook") if note["task"] == full_name]


def test_many_tasks_take_no_more_connects_than_run_at_once(worker: Worker) -> None:
    worker.run("ask")
    for _ in range(TASKS):
        worker.send("ask", ignore_result=True)
    eventually(lambda: len(hooks(worker, "ask")) > TASKS, "Tasks are missing.", seconds=50)
    answers = [note["answers"] for note in worker.notes("hook")]
    for alias in ALIASES:
        assert len({answer[alias] for answer in answers}) <= worker.concurrency
    assert worker.connects() <= worker.concurrency * len(ALIASES)


def test_the_hooks_of_a_task_that_succeeds_share_its_leases(worker: Worker) -> None:
    worker.run("succeed")
    eventually(lambda: units(worker, "succeed"), "The unit did not end.")
    assert hooks(worker, "succeed") == ["on_success", "after_return", "task_postrun"]
    assert units(worker, "succeed") == [ONCE]


def test_the_hooks_of_a_task_that_fails_share_its_leases(worker: Worker) -> None:
    with pytest.raises(ValueError, match="as it should"):
        worker.run("fail")
    eventually(lambda: units(worker, "fail"), "The unit did not end.")
    assert hooks(worker, "fail") == [
        "on_failure", "task_failure", "after_return", "task_postrun",
    ]  # fmt: skip
    assert units(worker, "fail") == [ONCE]


def test_every_attempt_of_a_task_that_is_retried_is_a_unit(worker: Worker) -> None:
    worker.run("retry")
    eventually(lambda: len(units(worker, "retry")) >= 2, "The units did not end.")
    assert units(worker, "retry") == [ONCE, ONCE]
    assert "on_retry" in hooks(worker, "retry")


def test_threads_of_a_task_leave_nothing_behind(worker: Worker) -> None:
    worker.run("spawn_threads")


def test_a_task_in_place_stays_in_the_transaction_of_its_caller(worker: Worker) -> None:
    assert worker.run("call_in_place") == ["SUCCESS", True, True]


def test_a_revoked_task_runs_its_hook_in_a_unit(worker: Worker) -> None:
    expire(worker)
    name = "never: announce_revoked"
    eventually(lambda: units(worker, name), "The unit did not end.")
    assert units(worker, name)[-1] == ONCE


@only("prefork")
def test_a_soft_time_limit_in_a_query_ends_the_unit(worker: Worker) -> None:
    with pytest.raises(Exception, match="SoftTimeLimitExceeded"):
        worker.run("last", 30, soft_time_limit=1)
    eventually(lambda: units(worker, "last"), "The unit did not end.")


@only("prefork", "gevent")
def test_a_hard_time_limit_kills_and_its_hooks_run_in_a_unit(worker: Worker) -> None:
    """It kills the process, or the greenlet in its query; the hooks run in the worker's own."""
    name = "last" if worker.kind == "gevent" else "idle"
    with pytest.raises(Exception, match="TimeLimitExceeded"):
        worker.run(name, 30, time_limit=1)
    eventually(lambda: units(worker, f"{name}: on_timeout"), "The hooks did not run.")
    # Celery 5.5 calls no hook there.
    assert units(worker, f"{name}: on_timeout") in ([ONCE], [{}])
    assert worker.run("ask").keys() == set(ALIASES)


@only("prefork", "gevent")
def test_a_terminated_task_gives_back_what_it_held(worker: Worker) -> None:
    """A killed greenlet's query is cancelled, and its connection closed."""
    result = worker.send("last", 30)
    eventually(lambda: sleeping(worker) == 1, "The query did not start.")
    worker.client.control.revoke(result.id, terminate=True)
    with pytest.raises(Exception, match="terminated"):
        result.get(timeout=40)
    if worker.kind == "gevent":
        eventually(lambda: sleeping(worker) == 0, "The query went on.")


def sleeping(worker: Worker) -> int:
    """How many queries of the worker sleep on the server."""
    return int(
        worker.cluster.psql(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(30%' "
            f"AND state = 'active' AND application_name = '{worker.name}'"
        )
    )


@only("gevent")
def test_queries_of_greenlets_run_side_by_side(worker: Worker) -> None:
    results = [worker.send("ask", 0.5) for _ in range(worker.concurrency)]
    pids = [result.get(timeout=40)["default"] for result in results]
    assert len(set(pids)) == worker.concurrency


@only("prefork")
def test_a_new_child_leaves_the_connections_of_its_parent_alone(worker: Worker) -> None:
    """Celery closes descriptors in a new child; none may be one of the parent's sockets."""
    before = expire(worker)
    children = worker.reports()
    with pytest.raises(Exception, match="TimeLimitExceeded"):
        worker.run("idle", 30, time_limit=1)
    eventually(lambda: worker.reports().keys() - children, "No child was forked.")
    worker.run("ask")
    assert expire(worker) == before
