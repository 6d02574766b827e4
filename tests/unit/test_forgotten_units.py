"""Units of work that nobody ended."""

from __future__ import annotations

import gc
import weakref

from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.slot import FREE, KEPT, Lease
from django_connmgr._pool.unit import Unit
from django_connmgr.testing import FakeConnection, FakeDriver

from .conftest import MakePool


def test_leases_of_a_unit_that_was_forgotten_come_back_unless_they_are_in_use() -> None:
    """As when a server cancels a request: Django sends no signal of its end."""
    pool = ConnectionPool[FakeConnection]("default", FakeDriver())
    unit = Unit("GET /")
    unused, kept, used = pool.checkout(), pool.checkout(), pool.checkout()
    for lease in (unused, kept, used):
        unit.add(lease)
    unused.claim.put_down(FREE)
    kept.claim.put_down(KEPT)
    del unit
    gc.collect()
    stats = pool.stats()  # Finalisers only report: whoever looks next sees to it.
    assert (stats.idle, stats.leased, stats.reaped) == (2, 1, 2)
    assert (unused.is_held(), kept.is_held(), used.is_held()) == (False, False, True)
    assert used.claim.is_due


def test_a_unit_that_was_ended_leaves_nothing_to_its_finaliser() -> None:
    pool = ConnectionPool[FakeConnection]("default", FakeDriver())
    unit = Unit("GET /")
    lease = pool.checkout()
    unit.add(lease)
    lease.claim.put_down(FREE)
    assert unit.end() == 1
    del unit
    gc.collect()
    assert pool.stats().reaped == 0


def test_a_unit_grows_while_it_is_looked_through(make_pool: MakePool) -> None:
    """By what the collector runs, for example, in the middle of an allocation on Python 3.11."""
    unit, pool = Unit("long"), make_pool()
    leases: list[Lease[FakeConnection]] = [Lease(pool) for _ in range(5000)]
    for lease in leases:  # As ``add()``, which looks through them each time.
        unit._leases[lease.claim] = weakref.ref(lease)
        unit.takes["test", lease.id] = 1
        lease.renew()  # It is another unit's.

    def grow(*args: object) -> None:
        lease: Lease[FakeConnection] = Lease(pool)
        unit._leases[lease.claim] = weakref.ref(lease)
        unit.takes["test", lease.id] = 1

    threshold = gc.get_threshold()
    gc.callbacks.append(grow)
    gc.set_threshold(10)
    try:
        assert unit.counts["test"] >= 5000
        assert len(unit._find_leases()) >= 5000
        unit._forget_ended()
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(grow)
    assert len(unit._leases) < 5000
