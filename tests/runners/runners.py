"""The runners, and how a worker of each is started."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

#: How many tasks of each kind are sent.
SENT = {"ask": 20, "succeed": 1, "fail": 1, "retry": 1, "spawn_threads": 1, "last": 1}
#: By the task ``spawn_threads``, each of which may need a connection besides.
SPAWNED = 2


@dataclass(frozen=True)
class Runner:
    #: As ``pip`` knows it.
    package: str
    #: Of worker. The table in ``docs/integrations.md`` has both.
    kind: str
    #: The module that ``django_connmgr.integrations`` has a file for, and the adapter's name.
    module: str
    #: Of Python, after ``-m``.
    command: tuple[str, ...]
    #: The most connections that tasks and their hooks may open to one alias: one for each task
    #: that runs at once, where the runner's entry does not say otherwise.
    connects: int
    #: What it does not know how to do.
    lacks: frozenset[str] = field(default=frozenset())
    sends_itself: bool = False
    needs_redis: bool = True
    environment: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """Without what not every identifier takes."""
        return "-".join(re.findall(r"\w+", f"{self.package} {self.kind}"))

    @property
    def tasks(self) -> list[str]:
        return [name for name in SENT if name not in self.lacks for _ in range(SENT[name])]

    @property
    def runs(self) -> Counter[str]:
        """How often the tasks are run."""
        return Counter([*self.tasks, *({"retry"} - self.lacks)])


NO_LIMITS = frozenset({"last"})

RUNNERS = (
    Runner(
        "dramatiq",
        "threads",
        "dramatiq",
        ("dramatiq", "tests.runners.adapters.dramatiq", "--processes", "1", "--threads", "2"),
        connects=2,
        environment={"dramatiq_worker_timeout": "100"},
    ),
    # A child for each job, which opens its own, and the worker that forks them.
    Runner("rq", "`Worker`", "rq", ("tests.runners.adapters.rq", "Worker"), connects=27),
    Runner("rq", "`SimpleWorker`", "rq", ("tests.runners.adapters.rq", "SimpleWorker"), connects=1),
    Runner(
        "huey",
        "threads",
        "huey",
        ("django", "run_huey", "--workers", "2", "--worker-type", "thread"),
        connects=2,
        lacks=NO_LIMITS,
    ),
    # Two children, and their parent.
    Runner(
        "huey",
        "processes",
        "huey",
        ("django", "run_huey", "--workers", "2", "--worker-type", "process"),
        connects=3,
    ),
    Runner(
        "apscheduler",
        "threads",
        "apscheduler",
        ("tests.runners.adapters.apscheduler",),
        needs_redis=False,
        connects=2,
        lacks=NO_LIMITS | {"retry"},
        sends_itself=True,
    ),
    # Two threads of tasks, and one of async code, where their middleware queries.
    Runner(
        "procrastinate",
        "two jobs at once",
        "procrastinate",
        ("django", "procrastinate", "worker", "--concurrency", "2"),
        needs_redis=False,
        connects=3,
        lacks=NO_LIMITS,
    ),
    # Two workers, another one in the place of that which ran out of time, the process that saves
    # results, and their parent.
    Runner(
        "django-q2",
        "a cluster of two workers",
        "django_q",
        ("django", "qcluster"),
        connects=5,
        lacks=frozenset({"retry"}),
    ),
    Runner(
        "django-tasks-db",
        "`manage.py db_worker`",
        "django_tasks_db",
        ("django", "db_worker", "--interval", "0.05", "--no-startup-delay"),
        needs_redis=False,
        connects=1,
        lacks=NO_LIMITS | {"retry"},
    ),
)
