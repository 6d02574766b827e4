"""An exception at the nth bytecode of the pool's own code, for every n: the machinery."""

from __future__ import annotations

import dis
import functools
import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from django_connmgr import _pool
from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.growth import REFUSAL_PAUSE
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.owner import Owner, here
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.scope import Scope
from django_connmgr._pool.slot import IDLE
from django_connmgr._pool.state import LOOK_AGAIN, PoolStatus
from django_connmgr.testing import FakeDriver, ManualClock

from .helpers import Borrower, Pool, picture

ROOM = Path(_pool.__file__).parent
#: All but what only reads and makes texts: it changes nothing, so it may fail anywhere.
FILES = {
    str(path)
    for path in ROOM.glob("*.py")
    if path.stem not in {"report", "stats", "view", "jitter", "limits", "logs", "events"}
}


class Fault(BaseException):
    """What no code expects."""


class Injector:
    """Raises ``Fault`` before the nth bytecode (from 0) that runs in the pool's files."""

    def __init__(self, number: int) -> None:
        self._left = number
        #: Whether so many bytecodes ran.
        self.is_reached = False
        #: Where it struck.
        self.place = ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            if self._left:
                self._left -= 1
            elif not self.is_reached:
                self.is_reached = True
                if frame.f_lasti not in impossible_offsets(frame.f_code):
                    self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                    raise Fault
        elif event == "call":
            if frame.f_code.co_filename not in FILES or self.is_reached:
                return None
            trace_opcodes(frame, self)
        return self


def trace_opcodes(frame: FrameType, tracer: Any) -> None:
    frame.f_trace = tracer  # Python 3.13 ignores the next line without it.
    frame.f_trace_opcodes = True
    frame.f_trace_lines = False


@functools.cache
def impossible_offsets(code: CodeType) -> frozenset[int]:
    """Where no CPython raises what strikes from outside.

    Between the end of a ``with`` block and the call of its ``__exit__``, which are loads of
    constants: a signal's handler runs after a call, at a jump back, or where a function starts.
    """
    bytecode = dis.Bytecode(code)
    instructions = list(bytecode)
    ends = [entry.end for entry in bytecode.exception_entries]
    found: set[int] = set()
    for index, instruction in enumerate(instructions):
        if instruction.opname in {"WITH_EXCEPT_START", "PUSH_EXC_INFO"}:
            found.add(instruction.offset)
        loads = instructions[index : index + 3]
        if not all(one.opname == "LOAD_CONST" and one.argval is None for one in loads):
            continue
        after = index + 3
        while instructions[after].opname == "PRECALL":
            after += 1
        if instructions[after].opname == "CALL":
            call = instructions[after].offset
            begin = max((end for end in ends if end <= instruction.offset), default=call)
            found.update(one.offset for one in instructions if begin <= one.offset <= call)
    return frozenset(found)


class Forgotten(list[Any]):
    """Connections that are gone when nobody refers to them, as a driver's close then."""

    def append(self, connection: Any) -> None:
        super().append(weakref.ref(connection))

    def __iter__(self) -> Iterator[Any]:
        return (one for one in [reference() for reference in super().__iter__()] if one is not None)


class World:
    """A pool of two, with all that a scenario needs. Nothing in it outlives the scenario."""

    def __init__(self, *, is_observed: bool = False, **limits: Any) -> None:
        self.driver, self.clock = FakeDriver(), ManualClock()
        self.driver.connections = Forgotten()
        settings = {"max_size": 2, "timeout": 1e6, "reap_interval": 0.0, **limits}
        self.max_size = settings["max_size"]
        self.limits = Limits(**settings)
        self.pool: Pool = ConnectionPool(
            "test", self.driver, self.limits, clock=self.clock, is_observed=is_observed
        )
        self.waiting: list[Borrower] = []
        self.scope = Scope("GET /")

    def give_to_another(self, slot: Any) -> Owner:
        """Make what is warm for this thread warm for another one that lives."""
        other = Owner()
        with self.pool._lock:
            here.owner.held.pop(slot)
            other.held[slot] = None
            slot.owner = other
        return other

    def let_wait(self, **how: Any) -> None:
        self.waiting.append(Borrower(self.pool, **how))
        self.clock.await_waiters()


Scenario = Callable[[World], Callable[[], object]]


def sweep(scenario: Scenario, **limits: Any) -> int:
    """Strike the scenario's action everywhere; returns at how many places."""
    number = 0
    swallowed: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda args: _swallow(args, swallowed, hook)
    was_enabled = gc.isenabled()
    gc.disable()  # What a scenario makes is young then, and ``collect(0)`` finds it.
    try:
        while True:
            swallowed.clear()
            world = World(**limits)
            injector = Injector(number)
            strike(injector, scenario(world))
            gc.collect(0)
            assert_whole(world, injector.place, may_be_late=bool(swallowed))
            here.owner.held.clear()  # Entries that are left over do not count, but take time.
            if not injector.is_reached:
                return number
            number += 1
    finally:
        sys.unraisablehook = hook
        if was_enabled:
            gc.enable()


def _swallow(unraisable: Any, swallowed: list[object], hook: Callable[[Any], object]) -> None:
    """Python swallows what strikes a finaliser, and says so."""
    if isinstance(unraisable.exc_value, Fault):
        swallowed.append(None)
    else:
        hook(unraisable)


def strike(injector: Injector, action: Callable[[], object]) -> None:
    previous = sys.gettrace()
    trace_opcodes(sys._getframe(), injector)  # Python 3.12 asks for it when tracing begins.
    try:
        sys.settrace(injector)
        result = action()
        sys.settrace(previous)
        del result
    except Fault:
        pass
    finally:
        sys.settrace(previous)


def assert_whole(world: World, place: str, *, may_be_late: bool) -> None:
    """Every slot is back, every waiter is served, no connection is anybody's twice.

    ``may_be_late``: a finaliser was struck, and what it had to tell is found by the next upkeep.
    """
    pool, driver = world.pool, world.driver
    if pool._lock.locked():
        pool._lock.release()  # Or else no report of this failure could be written.
        pytest.fail(f"The lock is held since {place}.")
    if may_be_late:
        pool.maintain()
    world.clock.advance(REFUSAL_PAUSE)
    for waiter in world.waiting:
        while not waiter._served.wait(0.001):
            world.clock.advance(LOOK_AGAIN)
        waiter._may_release.set()
        waiter._may_end.set()
        waiter.join()
    if pool._state.status is PoolStatus.CLOSED:
        pool.maintain()
        assert (picture(pool), driver.open()) == ({}, []), place
        return
    assert_indexed(pool, place)
    assert_all_can_be_leased(world, place)
    assert_indexed(pool, place)
    pool.close()
    assert (picture(pool), driver.open(), list(pool._state.waiters)) == ({}, [], []), place


def assert_all_can_be_leased(world: World, place: str) -> None:
    """At once: what was to be served, closed or opened needs no other thread and no time."""
    pool, driver, size = world.pool, world.driver, world.max_size
    pool.resume()
    with pool._lock:
        pool._state.set_limits_locked(world.limits)

    def fail(bell: object, timeout: float) -> None:
        pytest.fail(f"A slot is lost since {place}: {pool}, {pool.leases()}")

    world.clock.wait = fail  # type: ignore[method-assign]
    leases = [pool.acquire() for _ in range(size)]
    connections = [lease.connection for lease in leases]
    assert picture(pool) == {"leased": size}, place
    assert set(connections) == set(driver.open()), place
    assert len(set(connections)) == size, place
    assert {connection.state for connection in connections} == {ConnectionState.IDLE}, place
    assert driver.most_open <= size, place
    for lease in leases:
        lease.release()
    assert set(picture(pool)) <= {"idle"}, place  # One that was condemned is closed.


def assert_indexed(pool: Pool, place: str) -> None:
    """Each idle slot is found where it is looked for, by acquires, dying owners and units.

    The other way round, an entry may be left over: what does not count is passed over.
    """
    state = pool._state
    for slot in state.slots:
        if slot.state is IDLE:
            assert slot in (state.cold if slot.owner is None else state.warm), place
            assert slot.owner is None or slot in slot.owner.held, place
            scope = slot.scope
            assert scope is None or slot in scope.slots, place
    assert set(state.connecting) <= set(state.slots), place
