"""Units of work: what was leased in one is released when it ends, on whichever thread."""

from .cancelling import cancel_queries
from .executors import Thread, ThreadPoolExecutor, wrap_executor
from .hooks import hook, task_unit
from .unit import Unit
from .work import become_eager, unit_of_work

__all__ = [
    "Thread",
    "ThreadPoolExecutor",
    "Unit",
    "become_eager",
    "cancel_queries",
    "hook",
    "task_unit",
    "unit_of_work",
    "wrap_executor",
]
