"""A signal that has a report written to the log, where no second process can be started."""

import _thread
import logging
import signal
import threading
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..app_settings import app_settings
from .answers import answer

logger = logging.getLogger("django_connmgr.report")


def install() -> None:
    """Have ``CONNMGR["REPORT_SIGNAL"]`` write a report, if it names one."""
    try:
        name = app_settings().REPORT_SIGNAL
    except ImproperlyConfigured:
        return  # Which a check tells.
    if name is None:
        return
    if threading.current_thread() is not threading.main_thread():
        logger.warning(
            "CONNMGR['REPORT_SIGNAL'] has no effect: django.setup() was not called on the main "
            "thread, where alone Python lets signals be handled."
        )
        return
    number = getattr(signal, name)
    previous = signal.getsignal(number)

    def handle(signum: int, frame: Any) -> None:
        # This strikes between any two bytecodes, perhaps under a lock. The low-level call takes
        # none; the thread that it starts may.
        _thread.start_new_thread(_write, ())
        if callable(previous) and previous is not signal.default_int_handler:
            previous(signum, frame)

    signal.signal(number, handle)


def _write() -> None:
    try:
        logger.warning("%s", make_report())
    except Exception:
        logger.exception("The report failed.")


def make_report() -> str:
    """Pools, leases with their holders' stacks, and waiters of this process."""
    status, leases = answer("status", {}), answer("leases", {"stacks": True})
    process = status["process"]
    lines = [f"Pools of process {process['pid']} ({process['role']}):"]
    lines += [
        f"  {pool['name']} ({pool['status']}): {pool['size']} of {pool['max_size']}, "
        f"{pool['leased']} leased, {pool['warm']} warm, {pool['cold']} cold, "
        f"{pool['waiting']} waiting, {pool['timeouts']} timeouts"
        for pool in status["pools"]
    ]
    for lease in leases["leases"]:
        lines.append(
            f"Lease of {lease['pool']} by thread {lease['owner']!r} for {lease['held_for']:.1f} s, "
            f"in {lease['unit'] or 'no unit of work'}, by {', '.join(lease['holds']) or 'nothing'}:"
        )
        lines += [f"  {line}" for line in lease["stack"].splitlines()]
    lines += [
        f"Waiter for {waiter['pool']}: thread {waiter['owner']!r} for {waiter['waited']:.1f} s, "
        f"in {waiter['unit'] or 'no unit of work'}"
        for waiter in answer("waiters", {})["waiters"]
    ]
    return "\n".join(lines)
