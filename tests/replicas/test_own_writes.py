"""Clients read their own writes, whatever befalls the replicas meanwhile."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings

from django_connmgr.middleware import UnitOfWorkMiddleware
from testproject.replication import Replication
from testproject.shop.models import Customer

from .conftest import INTERVAL, REPLICA

THREADS = 8
CHECKS = int(os.environ.get("CONNMGR_TEST_CHECKS", "10000"))
READS_AFTER_EACH_WRITE = 4
#: What happens to a replica that runs. One that was killed is left alone for a second or more.
VERBS = (*["pause_replay"] * 3, *["resume_replay"] * 6, "kill")


class Client:
    """Writes a number into its row, and reads it back in requests of their own."""

    def __init__(self, number: int) -> None:
        self.random = random.Random(number)
        self.cookies: dict[str, str] = {}
        self.row = Customer.objects.create(name="0")
        self.written = 0
        self.seen: Counter[str] = Counter()
        self.stale: list[str] = []
        self.lost_transactions = 0

    def request(self, view: Any) -> HttpResponse:
        request = RequestFactory().get("/")
        request.COOKIES.update(self.cookies)
        response: HttpResponse = UnitOfWorkMiddleware(view)(request)
        self.cookies.update({name: morsel.value for name, morsel in response.cookies.items()})
        return response

    def write(self, _: HttpRequest) -> HttpResponse:
        self.written += 1
        Customer.objects.filter(pk=self.row.pk).update(name=str(self.written))
        return HttpResponse()

    def read(self, _: HttpRequest) -> HttpResponse:
        if self.random.random() < 0.3:
            found = self.read_in_transaction()
        else:
            found = Customer.objects.get(pk=self.row.pk)
        reader: Any = connections[REPLICA].reader  # type: ignore[attr-defined]
        where = "primary" if reader.host is None else reader.host.name
        return HttpResponse(f"{found.name} {where}")

    def read_in_transaction(self) -> Customer:
        """There an error is raised when its server is lost, and the client asks again."""
        while True:
            try:
                with transaction.atomic(using=REPLICA):
                    return Customer.objects.using(REPLICA).get(pk=self.row.pk)
            except OperationalError:
                self.lost_transactions += 1

    def check(self) -> None:
        """One read of what was written last."""
        name, where = self.request(self.read).content.decode().split()
        self.seen[where] += 1
        if name != str(self.written):
            self.stale.append(f"{name} instead of {self.written} on {where}")

    def run(self, checks: int) -> None:
        try:
            for number in range(checks):
                if number % READS_AFTER_EACH_WRITE == 0:
                    self.request(self.write)
                self.check()
        finally:
            for alias in ("default", REPLICA):
                connections[alias].close()


class Trouble:
    """Pauses, resumes, kills and starts replicas until it is over."""

    def __init__(self, project: Replication) -> None:
        self.replicas, self.random = project.replicas, random.Random(7)
        self.done: Counter[str] = Counter()
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(self.random.uniform(0.0, 0.1)):
            replica = self.random.choice(self.replicas)
            if not replica.is_running():
                verb = "start"
            else:
                verb = self.random.choice(
                    ["pause_replay", "resume_replay", "resume_replay", "kill"]
                )
            getattr(replica, verb)()
            self.done[verb] += 1


@pytest.mark.timeout(150)
def test_ten_thousand_reads_show_the_clients_own_writes(project: Replication) -> None:
    for alias in ("default", REPLICA):
        connections.settings[alias]["OPTIONS"]["pool"]["max_size"] = 4
    trouble = Trouble(project)
    troubling = threading.Thread(target=trouble.run)
    with override_settings(CONNMGR={"PROBE_INTERVAL": INTERVAL}):
        clients = [Client(number) for number in range(THREADS)]
        connections["default"].close()
        troubling.start()
        try:
            with ThreadPoolExecutor(THREADS) as threads:
                list(threads.map(lambda client: client.run(CHECKS // THREADS), clients))
        finally:
            trouble.is_over.set()
            troubling.join()
    assert [client.stale for client in clients if client.stale] == []
    seen = sum((client.seen for client in clients), Counter())
    assert seen.total() == CHECKS
    assert sum(client.lost_transactions for client in clients) < CHECKS / 10
    assert set(trouble.done) == {"start", *VERBS}
    # Or it would have shown nothing.
    assert seen.total() - seen["primary"] > CHECKS / 10, seen
