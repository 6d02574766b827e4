"""Many requests through PgBouncer in transaction mode, which gives each transaction any session."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from testproject.cluster import Cluster
from testproject.pgbouncer import PgBouncerMissing, running_pgbouncer

from .launch import PATIENCE, Account, Kind, WebServer, gunicorn, require

REQUESTS, CLIENTS, PROCESSES, MAX_SIZE = 10_000, 16, 4, 4
#: What PgBouncer may open, and the role: one more is refused, and that is in the server's log.
BOUND = 6
KIND = Kind("gunicorn", gunicorn("--workers", str(PROCESSES), "--threads", "6"), ("gunicorn",))
#: What a request finds that nothing of another's is left for. The first is of its own process.
FRESH = ["UTC", "4MB", '"$user", public', None, 0]


@pytest.fixture
def account(cluster: Cluster) -> Iterator[Account]:
    account = Account(cluster, BOUND)
    try:
        with running_pgbouncer(cluster, "transaction", size=BOUND) as url:
            account.port = urlsplit(url).port or 0
            yield account
    except PgBouncerMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    finally:
        account.close()


def test_10_000_requests_see_no_error_and_nothing_of_each_other(account: Account) -> None:
    require(*KIND.needs)
    pool = {"max_size": MAX_SIZE, "behind": "pgbouncer-transaction"}
    server = WebServer(KIND, account, {"pool": pool})
    numbers, answers = itertools.count(), Counter[tuple[int, str]]()
    guard, most = threading.Lock(), 0

    def visit() -> None:
        with closing(server.connect()) as client:
            while (number := next(numbers)) < REQUESTS:
                path = ("session", "query", "atomic", "query")[number % 4]
                client.request("GET", f"/{path}/?n={number % 8}")
                response = client.getresponse()
                text = response.read().decode()
                if path == "session" and response.status == 200:
                    name, *found = json.loads(text)
                    text = "fresh" if found == FRESH and name.startswith("tests:") else text
                with guard:
                    answers[response.status, text] += 1

    try:
        server.wait_until_ready()
        with ThreadPoolExecutor(CLIENTS) as executor:
            visits = [executor.submit(visit) for _ in range(CLIENTS)]
            while not all(one.done() for one in visits):
                most = max(most, account.count())
        for one in visits:
            one.result()
        output = server.output()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(PATIENCE)
    finally:
        server.kill()
    assert answers == {
        (200, "fresh"): REQUESTS // 4,
        (200, "heap"): REQUESTS // 2,
        (200, "heapheap"): REQUESTS // 4,
    }
    assert 0 < most <= BOUND
    assert "too many connections for role" not in account.log()
    assert "Traceback" not in output
