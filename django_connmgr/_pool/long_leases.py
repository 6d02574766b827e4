"""Leases that last for long, as the background thread sees them at its passes."""

from typing import Generic, NamedTuple

from .core import Core
from .driver import C, ConnectionState
from .logs import logger
from .owner import Owner
from .report import describe_idle_transaction, describe_leak, name_of
from .slot import Slot


class Seen(NamedTuple):
    """One lease: the number of its slot, and since when."""

    slot: int
    since: float


class LongLeases(Generic[C]):
    """Belongs to the thread that maintains the pool. It logs each lease once."""

    def __init__(self, core: Core[C]) -> None:
        self._core = core
        #: Leases that were logged as held for long, with their slots and owners' names.
        self._leaks: dict[Seen, tuple[Slot[C], str]] = {}
        #: Since when each lease was seen in a transaction and without a query at every pass.
        self._idle: dict[Seen, float] = {}

    def look(self) -> None:
        limits = self._core.state.limits
        if self._leaks:
            self._tell_of_returns()
        if limits.leak_threshold:
            self._tell_of_leaks()
        if limits.idle_transaction:
            self._tell_of_idle_transactions(limits.idle_transaction)

    def _tell_of_leaks(self) -> None:
        core, name = self._core, self._core.home.name
        for slot, since, owner, stack, held in core.run(core.state.leaks_locked):
            text = describe_leak(name, owner, stack, held)
            self._log("leak", text, owner, "", held)
            self._leaks[Seen(slot.number, since)] = (slot, name_of(owner))

    def _tell_of_returns(self) -> None:
        """Those that came back after all."""
        core, name = self._core, self._core.home.name
        for seen, (slot, owner) in list(self._leaks.items()):
            with core.lock:
                is_held = slot.lease is not None and slot.leased_at == seen.since
                back_at = slot.idle_since if slot.idle_since > seen.since else core.now()
            if not is_held:
                del self._leaks[seen]
                held = back_at - seen.since
                logger.warning(
                    "Pool %r: thread %r gave back the connection that it had held for %.1f s.",
                    name,
                    owner,
                    held,
                    extra={"pool": name, "owner": owner, "seconds": held},
                )

    def _tell_of_idle_transactions(self, most: float) -> None:
        core, name, now = self._core, self._core.home.name, self._core.now()
        leased = core.run(core.state.leased_locked)
        before, self._idle = self._idle, {}
        for slot, since_then, owner, scope in leased:
            seen, connection = Seen(slot.number, since_then), slot.connection
            if connection is None or not self._is_idle(connection):
                continue
            since = self._idle[seen] = before.get(seen, now)
            if now - since >= most:
                unit = "" if scope is None else scope.name
                extra = {
                    "pool": name,
                    "owner": name_of(owner),
                    "unit": unit,
                    "seconds": now - since,
                }
                text = describe_idle_transaction(name, owner, unit, now - since)
                logger.warning(text, extra=extra)
                self._idle[seen] = float("inf")  # It is told once.

    def _log(self, kind: str, text: str, owner: Owner | None, unit: str, seconds: float) -> None:
        extra = {"pool": self._core.home.name, "owner": name_of(owner), "unit": unit}
        logger.warning(text, extra={**extra, "seconds": seconds, "kind": kind})

    def _is_idle(self, connection: C) -> bool:
        """Whether it is in a transaction and runs no query. It only reads: see ``Driver.state``."""
        try:
            state = self._core.connector.driver.state(connection)
        except Exception:
            return False
        return state is ConnectionState.IN_TRANSACTION
