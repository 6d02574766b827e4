"""What a pool shows of itself. Looking changes nothing."""

import dataclasses
import itertools
from traceback import StackSummary
from types import MappingProxyType
from typing import Any

from .owner import Owner
from .report import format_stack, name_of, stack_of
from .slot import CONNECTING, IDLE, KEPT, LEASED, MAINTENANCE, Slot
from .state import PoolState
from .stats import LeaseRecord, PoolStats, WaiterRecord

Seen = tuple[LeaseRecord, Owner | None, StackSummary | None]


def stats_locked(state: PoolState[Any]) -> PoolStats:
    """The numbers of this moment."""
    given_back = _given_back_locked(state)
    states = [
        IDLE if slot in given_back and slot.state in {LEASED, KEPT} else slot.state
        for slot in state.slots
    ]
    totals = {**vars(state.counters), "closed": MappingProxyType(dict(state.counters.closed))}
    return PoolStats(
        name=state.home.name,
        status=state.status.value,
        generation=state.generation,
        max_size=state.limits.max_size,
        min_size=state.limits.min_size,
        size=len(state.slots),
        connecting=states.count(CONNECTING),
        idle=states.count(IDLE),
        warm=sum(is_warm(slot) and slot not in given_back for slot in state.slots),
        leased=states.count(LEASED) + states.count(KEPT),
        maintenance=states.count(MAINTENANCE),
        waiting=len(state.waiters),
        **totals,
    )


def is_warm(slot: Slot[Any]) -> bool:
    return slot.state is IDLE and slot.owner is not None


def _given_back_locked(state: PoolState[Any]) -> set[Slot[Any]]:
    """Slots that finalisers have given back, and that no pass has taken in yet."""
    lost = state.lost.queue.copy()
    return {slot for slot, witness, _ in lost if witness in (slot.lease, slot.owner)}


def leases_locked(state: PoolState[Any], now: float, *, warm: bool = False) -> list[Seen]:
    """Who has what, longest held first, to be made into records without the lock.

    With ``warm``, what is reserved for an owner that does not use it right now, too.
    """
    given_back = _given_back_locked(state)
    held = (
        slot
        for slot in state.slots
        if slot not in given_back
        and (slot.state in {CONNECTING, LEASED, KEPT} or (warm and is_warm(slot)))
    )
    return [_see(slot, now) for slot in sorted(held, key=lambda slot: slot.leased_at)]


def _see(slot: Slot[Any], now: float) -> Seen:
    owner = slot.owner
    lease = None if slot.lease is None else slot.lease()
    holder = None if lease is None else lease.holder
    record = LeaseRecord(
        owner=name_of(owner),
        is_alive=owner is None or owner.is_alive(),
        state="warm" if slot.state is IDLE else slot.state.value,
        unit="" if slot.scope is None else slot.scope.name,
        holds=() if holder is None else holder.describe_holds(),
        held_for=now - slot.leased_at,
        idle_for=now - slot.idle_since if slot.state in {IDLE, KEPT} else 0.0,
        backend_pid=slot.backend_pid,
        slot=slot.number,
        since=slot.leased_at,
    )
    return record, owner, slot.stack


def waiters_locked(
    state: PoolState[Any], now: float, most: int | None
) -> list[tuple[WaiterRecord, Owner]]:
    """The first ``most`` waiters, longest waiting first, and their owners."""
    return [
        (
            WaiterRecord(
                owner=waiter.owner.name,
                unit="" if waiter.scope is None else waiter.scope.name,
                waited=now - waiter.lined_up_at,
                remaining=max(waiter.deadline - now, 0.0),
            ),
            waiter.owner,
        )
        for waiter in itertools.islice(state.waiters, most)
    ]


def as_records(seen: list[Seen], *, stacks: bool = False) -> list[LeaseRecord]:
    """The records, with where their owners are now if asked for ``stacks``."""
    return [
        dataclasses.replace(
            record,
            leased_at="" if stack is None else format_stack(stack),
            stack=stack_of(owner) if stacks else "",
        )
        for record, owner, stack in seen
    ]
