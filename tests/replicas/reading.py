"""A process that reads, and now and then writes, until its standard input ends.

The first line of that says which databases there are; for each other line it prints what it has
done so far. So it does not outlive the process that started it, however that ends.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from typing import Any

import django
from django.conf import settings

THREADS = 8
#: The most seconds for which a thread holds its connection, and for which it has none.
LONGEST_HOLD, LONGEST_REST = 0.03, 0.06
#: One of so many units of work writes.
READS_PER_WRITE = 10
#: Seconds in which the threads end.
PATIENCE = 5.0


class Reader:
    """Threads that read from any server, each in one unit of work after the other."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._reads: Counter[int] = Counter()
        self._writes = 0
        self._errors: list[str] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> bool:
        """False if a thread waits for servers that are gone."""
        self._is_over.set()
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def report(self) -> dict[str, Any]:
        """Reads by the port of the server that answered, writes, and errors of either."""
        with self._lock:
            return {"reads": self._reads, "writes": self._writes, "errors": self._errors}

    def _run(self) -> None:
        from django_connmgr import unit_of_work

        while not self._is_over.wait(random.random() * LONGEST_REST):
            try:
                with unit_of_work():
                    self._read()
                if random.random() < 1 / READS_PER_WRITE:
                    with unit_of_work():
                        self._write()
            except Exception:
                with self._lock:
                    self._errors.append(traceback.format_exc())

    def _read(self) -> None:
        from django.db.models import Func, IntegerField

        from django_connmgr import with_connection
        from testproject.shop.models import Customer

        port = Func(function="inet_server_port", output_field=IntegerField())
        with with_connection(self._alias):
            server = Customer.objects.annotate(port=port).values_list("port", flat=True)[0]
            self._is_over.wait(random.random() * LONGEST_HOLD)
        with self._lock:
            self._reads[server] += 1

    def _write(self) -> None:
        from testproject.shop.models import Customer

        assert Customer.objects.using("default").update(name=f"{random.random()}") == 1
        with self._lock:
            self._writes += 1


def main() -> None:
    given = json.loads(sys.stdin.readline())
    settings.configure(
        **given["settings"],
        SECRET_KEY="not a secret",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django_connmgr", "testproject.shop"],
        DATABASE_ROUTERS=["django_connmgr.routers.ReplicaRouter"],
    )
    django.setup()
    reader = Reader(given["alias"])
    reader.start()
    try:
        for _ in sys.stdin:
            sys.stdout.write(f"{json.dumps(reader.report())}\n")
            sys.stdout.flush()
    finally:
        if not reader.end():
            os._exit(1)


if __name__ == "__main__":
    main()
