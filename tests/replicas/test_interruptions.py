"""An exception at any line of a read through the reading role: no wrong read, no leak after it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import override_settings

import django_connmgr
from django_connmgr import current_token, replicas, require_token, unit_of_work
from django_connmgr.registry import registry
from testproject.replication import Replication
from testproject.shop.models import Customer

from .conftest import INTERVAL, REPLICA

PACKAGE = Path(django_connmgr.__file__).parent
#: Not ``hosts.py``: a line is told of where a ``with`` block ends, too, and there nothing strikes
#: from outside; a lock would stay taken.
FILES = {
    str(PACKAGE / "backends" / f"{name}.py")
    for name in ("attempt", "borrower", "reader", "reading", "role")
}


class Interruption(BaseException):
    """As of a signal."""


class Injector:
    """Raises at the nth line that runs in the files."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.place = ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename not in FILES or self.place:
            return None
        if event == "line":
            self._left -= 1
            if self._left < 0:
                self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                raise Interruption
        return self


def count() -> int:
    return Customer.objects.using(REPLICA).count()


def count_in_transaction() -> int:
    with transaction.atomic(using=REPLICA):
        return count()


def strike(read: Callable[[], int], number: int) -> str:
    """Where it struck; empty if so many lines did not run."""
    injector = Injector(number)
    previous = sys.gettrace()
    sys.settrace(injector)
    try:
        assert read() == 1
    except Interruption:
        pass
    except Exception as error:
        # Django answers an interruption of a commit with an error of its own.
        if "autocommit" not in str(error):
            raise
    finally:
        sys.settrace(previous)
    return injector.place


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("read", [count, count_in_transaction])
def test_an_interruption_anywhere_leads_to_no_wrong_read_and_leaks_nothing(
    project: Replication, read: Callable[[], int], is_warm: bool
) -> None:
    for replica in project.replicas:
        replica.pause_replay()
    with unit_of_work():
        Customer.objects.using("default").create(name="Ada")
        token = current_token()
    number, places = 0, set()
    # Replay is paused for as long as this takes.
    settings = {"PROBE_INTERVAL": INTERVAL, "WAIT": 0.002, "MAX_LAG_SECONDS": 600}
    with override_settings(CONNMGR=settings):
        while True:
            with unit_of_work():
                if is_warm:
                    assert count() == 0
                require_token(token)
                place = strike(read, number)
                assert count() == 1, place
            wrapper: Any = connections[REPLICA]
            assert not any(pool.stats().leased for pool in registry.all()), place
            borrower = wrapper.borrower
            assert (borrower.lease, borrower.holds, borrower.cursors) == (None, 0, {}), place
            assert {status.state for status in replicas().status()} == {"up"}, place
            if not place:
                break
            places.add(place)
            number += 1
    assert len(places) > 100
