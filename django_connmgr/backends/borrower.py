"""What one of Django's wrappers has leased, why the lease is not over yet, and how it ends."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

from django.db import Error
from django.db.utils import ProgrammingError

from .._pool.driver import ConnectionState
from .._pool.lease import Lease
from .._pool.lost import RESTS_COLD, RESTS_WARM
from .._pool.pool import ConnectionPool
from .._pool.scope import Scope
from .._pool.slot import Slot
from ..units.current import current_unit, find_unit
from .cursors import CURSOR
from .opening import Opening
from .permits import permit_checkout
from .physical import Physical

logger = logging.getLogger("django_connmgr.backends")

# Holds: why a lease is not over yet. The first five say that it is being used right now.
TRANSACTION, BLOCK, MOMENT, SHARED = 2, 4, 8, 64
IN_USE = CURSOR | TRANSACTION | BLOCK | MOMENT | SHARED
# These keep it for the rest of the unit of work, also while it is not being used.
LEASED, SESSION = 16, 32
_WORDS = {
    CURSOR: "cursor",
    TRANSACTION: "transaction",
    BLOCK: "block",
    MOMENT: "query",
    SHARED: "shared by threads",
    LEASED: "lease_connection()",
    SESSION: "session state",
}

Pool = ConnectionPool[Physical]
#: Of no unit of work: the settings are to be looked at again.
_UNKNOWN: Any = object()
#: The settings that make an address, besides the options.
_PLACE = ("NAME", "HOST", "PORT", "USER", "AUTOCOMMIT")


class Borrower:
    """Leases a connection for one wrapper while it is used, and gives it back.

    The wrapper has the driver's connection exactly while it is leased. Holds are changed by the
    wrapper's own thread alone, so they need no lock. The callback of a collected cursor may run
    between any two bytecodes, on any thread. It ends the lease only on the wrapper's own thread,
    and only if an open cursor is the one hold that there is. So whatever begins another hold
    notes it first, and looks at the lease after that.
    """

    __slots__ = (
        "_address",
        "_adopted",
        "_adoption",
        "_asks_engine",
        "_is_asking",
        "_is_special",
        "_is_warm",
        "_raw",
        "_timeout",
        "_took_lease",
        "_unit",
        "_wrapper",
        "cursors",
        "depth",
        "holds",
        "is_beginning",
        "is_dedicated",
        "lease",
        "on_collected",
        "opening",
        "pool",
        "thread",
        "warm",
    )

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = wrapper
        self.thread: int = wrapper._thread_ident
        #: The pool to lease from, as the settings were when they were last looked at; ``None``
        #: if there is none. They are looked at again in each unit of work, and after ``close()``.
        self.pool: Pool | None = None
        self._address: object = None
        self._unit: weakref.ref[Scope] | None = _UNKNOWN
        #: Whether what is given back stays warm: the pool's option ``release``.
        self._is_warm = False
        self.lease: Lease[Physical] | None = None
        self.holds = 0
        #: The slot that was leased last and its connection, if they stay warm when given back.
        self.warm: Slot[Physical] | None = None
        self._raw: Any = None
        #: The driver's open cursors, by what calls back when one is collected.
        self.cursors: dict[weakref.ref[Any], bool] = {}
        self.on_collected = self._cursor_collected
        #: Of the connection that the wrapper knows, and what it was opened with; see ``_adopt()``.
        self._adoption: object = object()
        self._adopted: object = None
        #: The wrapped engine ensures connections in its own way; whether it is being asked.
        self._asks_engine: bool = wrapper.ensures_in_its_own_way
        self._is_asking = False
        #: That, or autocommit is off in the settings, or the wrapper is shared by threads.
        self._is_special = self._find_out_if_special()
        #: The engine's own statements that begin a transaction are being made.
        self.is_beginning = False
        #: How many ``with_connection()`` blocks are open, and whether the outermost of them took
        #: the lease, and so gives it back.
        self.depth = 0
        self._took_lease = False
        #: Seconds that a checkout of the current block may take; ``None`` for the pool's timeout.
        self._timeout: float | None = None
        #: A connection of its own, past the pool: ``dedicated()``.
        self.is_dedicated = False
        #: What the wrapper opens for the pool, while it does.
        self.opening: Opening | None = None

    def describe_holds(self) -> tuple[str, ...]:
        """The holds in words, for those who look at the lease."""
        holds = self.holds
        return tuple(word for hold, word in _WORDS.items() if holds & hold)

    # Leasing

    def begin(self, hold: int) -> bool:
        """Hold a connection, which is leased if there is none; false if there is no pool.

        Raises what opening a connection the engine's own way does, or the pool's errors.
        """
        before = self.holds
        self.holds = before | hold  # First: see the class.
        lease = self.lease
        if lease is not None:
            if before & IN_USE or self.use(lease):
                return True
            self.holds |= hold  # It went with its unit of work, on another thread.
        slot = self.warm
        if slot is not None:
            lease = self.pool.retake(slot, self)  # type: ignore[union-attr]
            if lease is not None:
                # First the lease, then the connection: an interruption in between must not leave
                # a connection here whose lease is nobody's.
                self.lease = lease
                self._wrapper.connection = self._raw
                return True
        return self._acquire(before, hold)

    def _acquire(self, before: int, hold: int) -> bool:
        """As ``begin()``, where there is nothing warm."""
        try:
            if self._is_special:
                return self._acquire_specially(before, hold)
            unit = current_unit.get()
            if unit is None or not unit.is_request:
                unit = find_unit()
            pool, scope = self.pool, None if unit is None else unit.ref
            if scope is not self._unit or pool is None or pool.is_closed:
                pool = self._look_up(scope)
                if pool is None or self._is_special:
                    self.holds = before
                    return pool is not None and self.begin(hold)
            wrapper: Any = self._wrapper
            lease = self.lease = pool.acquire(
                self._timeout, scope=unit, holder=self, connect=wrapper.open_physical
            )
            slot: Any = lease.slot
            physical = slot.connection
            self.warm = slot if self._is_warm else None
            self._raw = wrapper.connection = physical.raw
            if physical.adoption is not self._adoption:
                self._adopt(physical)
        except BaseException as error:
            self.holds &= ~hold | before
            if isinstance(error, self._wrapper.Database.Error):
                with self._wrapper.wrap_database_errors:
                    raise
            raise
        return True

    def use(self, lease: Lease[Physical]) -> bool:
        """Use a lease that is kept; false if it was taken back meanwhile, and forgotten here."""
        if self.pool is not None and self.pool.use(lease):
            return True
        self._let_go()
        return False

    def _acquire_specially(self, before: int, hold: int) -> bool:
        """As ``_acquire()``, where more is to be done."""
        wrapper = self._wrapper
        self._is_special = False
        try:
            if self._asks_engine and not self._is_asking and self.opening is None:
                self._is_asking = True
                try:
                    wrapper.ensure_as_engine()  # It calls ``connect()``.
                finally:
                    self._is_asking = False
            if not self.begin(hold):
                return False
            self.holds &= ~MOMENT | hold | before
            self.warm = None  # The next one is special, too.
            if not wrapper.settings_dict["AUTOCOMMIT"]:
                wrapper.autocommit = False
                self.holds |= TRANSACTION
            if wrapper._thread_sharing_count:
                self.share()
        finally:
            self._is_special = self._find_out_if_special()
        return True

    def _find_out_if_special(self) -> bool:
        wrapper = self._wrapper
        return bool(
            self._asks_engine
            or not wrapper.settings_dict["AUTOCOMMIT"]
            or wrapper._thread_sharing_count
        )

    def _look_up(self, scope: weakref.ref[Scope] | None) -> Pool | None:
        """Look at the settings; returns the pool that they lead to, ``None`` if there is none."""
        if self.opening is not None:
            return None
        wrapper = self._wrapper
        settings = wrapper.settings_dict
        options = settings["OPTIONS"]
        place = tuple(map(settings.__getitem__, _PLACE))
        pool = self.pool
        if pool is None or pool.is_closed or (place, options) != self._address:
            # A copy of the options, because they may be changed in place.
            self._address = (place, dict(options))
            self._adoption = object()
            self.warm = None
            self._is_special = self._find_out_if_special()
            pool = self.pool = None if self.is_dedicated else wrapper.connection_pool
        if pool is None:
            return None
        if wrapper.closed_in_transaction:
            if wrapper.in_atomic_block:
                raise ProgrammingError("Cannot open a new connection in an atomic block.")
            self._forget_transaction()
        own: Any = pool.driver
        self._is_warm = own.options.release == "request"
        self._unit = scope
        if scope is None and own.options.permanent_checkout != "allow":
            self._unit = _UNKNOWN  # The next one is looked at, too.
            if not self.depth:
                permit_checkout(own.options.permanent_checkout, wrapper.alias)
        return pool

    def has_pool(self) -> bool:
        """Whether connections are leased; not while the wrapper opens one for the pool."""
        if self.opening is not None or self.is_dedicated:
            return False
        pool = self.pool
        return (pool is not None and not pool.is_closed) or self._wrapper.connection_pool is not None

    def connect(self) -> bool:
        """Lease a connection as ``connect()`` would open one; false if there is no pool."""
        return self.begin(MOMENT) if self._is_asking else self.keep()

    def forget_settings(self) -> None:
        """What is leased next is leased as ``settings_dict`` says by then."""
        self._unit = _UNKNOWN

    def _adopt(self, physical: Physical) -> None:
        """Become what stock ``connect()`` leaves behind, on a connection that exists already.

        A connection that no other wrapper had since this one did is known. What all connections
        of a pool have in common is noted on the wrapper once.
        """
        wrapper = self._wrapper
        self._adoption = physical.adoption = object()
        if physical.wrapper_state is not self._adopted:
            self._adopted = physical.wrapper_state
            vars(wrapper).update(physical.wrapper_state)
        wrapper.health_check_enabled = False  # The pool hands out no other than healthy ones.
        wrapper.autocommit = wrapper.settings_dict["AUTOCOMMIT"]
        wrapper.forget_session()

    def _forget_transaction(self) -> None:
        wrapper = self._wrapper
        wrapper.in_atomic_block = False
        wrapper.savepoint_ids = []
        wrapper.atomic_blocks = []
        wrapper.needs_rollback = False
        wrapper.closed_in_transaction = False
        wrapper.run_on_commit = []

    # Cursors

    def _cursor_collected(self, hold: weakref.ref[Any]) -> None:
        """A cursor of the driver's was dropped without being closed.

        A finaliser: no lock, no I/O. On the wrapper's own thread, and if nothing else holds the
        lease, it ends at once, and the pool takes it in. Otherwise the next end of a hold sees
        that the last cursor is gone.
        """
        cursors = self.cursors
        if not cursors.pop(hold, False) or cursors or self.holds & IN_USE != CURSOR:
            return
        lease = self.lease
        slot = None if lease is None else lease.slot
        if lease is None or slot is None or self.thread != threading.get_ident():
            return
        self.holds &= ~CURSOR
        if self.holds:
            return  # It stays leased for the rest of the unit of work.
        self._wrapper.connection = None
        self.lease = None
        slot.lost.report(slot, slot.lease, RESTS_WARM if self.warm is not None else RESTS_COLD)

    def note_session_state(self) -> None:
        """The session of the server is about to be changed: keep it for this unit of work."""
        if self.opening is not None:
            self.opening.has_session_state = True
            return
        lease = self.lease
        if lease is None or self.is_beginning:
            return
        if not self.holds & SESSION:
            logger.debug(
                "The connection of %r holds session state from here on.", self._wrapper.alias
            )
            self.holds |= SESSION
            lease.pool.count("session_holds")  # type: ignore[attr-defined]
        lease.connection.has_session_state = True

    def note_interruption(self, error: BaseException) -> None:
        """An exception came out of a query, or of the end of a transaction: was it cut short?

        If so, or if something like ``KeyboardInterrupt`` makes it likely, the connection
        is given up here and now: nobody can say what it would answer next.
        """
        wrapper, lease = self._wrapper, self.lease
        if isinstance(error, (wrapper.Database.Error, Error)):
            return
        if lease is None or not lease.is_held() or not self.holds & IN_USE:
            return
        is_harmless = isinstance(error, (Exception, GeneratorExit))
        state = lease.pool.driver.state(lease.connection)  # type: ignore[attr-defined]
        if is_harmless and state is not ConnectionState.UNUSABLE:
            return
        if wrapper.in_atomic_block:
            wrapper.closed_in_transaction = True
            wrapper.needs_rollback = True
        self._let_go()
        lease.discard()

    # Ending

    def end_transaction(self, end: Callable[[], None]) -> None:
        """Commit or roll back, unless the connection may be another owner's by now.

        A lease without a hold has no transaction: one that was begun by hand is session
        state, which keeps the lease, but only until another thread ends the unit of work.
        """
        before, lease = self.holds, self.lease
        if lease is None:
            end()
            return
        self.holds = before | MOMENT
        if not before & IN_USE and not self.use(lease):
            return
        try:
            end()
        except BaseException as error:
            self.note_interruption(error)
            raise
        finally:
            self.end(MOMENT)

    def end(self, hold: int) -> None:
        """End a hold. If nothing uses the connection any more, it goes back to the pool."""
        holds = self.holds = self.holds & ~hold
        if holds & CURSOR and not self.cursors:
            holds = self.holds = holds & ~CURSOR  # The last one was collected.
        lease = self.lease
        if lease is None or holds & IN_USE:
            return
        pool: Any = self.pool
        if holds:
            if not pool.keep(lease):
                self.give_back()
            return
        wrapper = self._wrapper
        wrapper.connection = None
        self.lease = None
        if not pool.rest(lease, is_warm=self.warm is not None):
            self._settle(lease)

    def _settle(self, lease: Lease[Physical]) -> None:
        """The borrower has changed something about a connection that nothing holds."""
        pool: Any = self.pool
        if pool.has_transaction(lease):
            # It was begun past Django, and is for the end of the unit of work to end.
            self.lease, self._wrapper.connection = lease, lease.connection.raw
            self.holds |= SESSION
            pool.keep(lease)
        else:
            pool.release(lease, is_warm=self.warm is not None)

    def release(self) -> bool:
        """Give the connection back, unless a transaction or a block holds it; true if it went.

        Never raises for what is wrong with the connection: that is closed instead.
        """
        if self.lease is None:
            return self.cool()
        if self._wrapper.in_atomic_block or self.depth:
            return False
        if self.thread != threading.get_ident():
            self._wrapper.validate_thread_sharing()
        return self.give_back()

    def suspend(self) -> None:
        """Give the connection back, from inside a block too; the next query leases again."""
        if self.lease is None:
            self.cool()
        else:
            self._wrapper.validate_thread_sharing()
            self.give_back()

    def cool(self) -> bool:
        """Let others have what is warm for this thread; true if it was."""
        slot, self.warm = self.warm, None
        return slot is not None and self.pool is not None and self.pool.cool(slot)

    def give_back(self) -> bool:
        """Give the connection back, whatever holds it; false if another thread did already."""
        lease, cursors = self.lease, self.cursors
        if lease is None or not (self.holds & IN_USE or self.use(lease)):
            return False
        wrapper: Any = self._wrapper
        if wrapper.run_on_commit:
            wrapper.run_on_commit = []
        self._let_go()
        if cursors and lease.is_held():
            # As on a connection that was closed, nothing can be done with them any more.
            for hold in list(cursors):
                cursor = hold()
                if cursor is not None:
                    with contextlib.suppress(Exception):  # The release looks at what is left.
                        cursor.close()
        self.pool.release(lease)  # type: ignore[union-attr]
        return True

    def _let_go(self) -> None:
        # In this order, for the sake of interruptions: a connection without a lease might
        # be another owner's; a lease that is neither here nor released counts as lost.
        wrapper = self._wrapper
        self.holds &= BLOCK
        wrapper.connection = None
        self.lease = self.warm = None
        if self.cursors:
            self.cursors = {}
        wrapper.autocommit = wrapper.settings_dict["AUTOCOMMIT"]
        self._unit = _UNKNOWN

    def has_transaction(self) -> bool:
        """Whether autocommit is off and something waits to be committed."""
        lease = self.lease
        if lease is None or not self.holds & TRANSACTION:
            return False
        state = lease.pool.driver.state(lease.connection)  # type: ignore[attr-defined]
        return state is ConnectionState.IN_TRANSACTION

    # Blocks, and leases by hand

    def enter_block(self, timeout: float | None) -> None:
        """Hold a connection until the matching ``exit_block()``. Blocks nest."""
        wrapper = self._wrapper
        before = self.lease or wrapper.connection
        previous, self._timeout = self._timeout, timeout
        self.depth += 1
        try:
            if not self.begin(BLOCK):
                wrapper.ensure_connection()
        except BaseException:
            self.depth -= 1
            raise
        finally:
            self._timeout = previous
        if self.depth == 1:
            self._took_lease = (self.lease or wrapper.connection) is not before

    def exit_block(self) -> None:
        """End a block; the outermost gives back what it took itself."""
        if not self.depth:
            return  # A forked child leaves a block of its parent's.
        self.depth -= 1
        if self.depth:
            return
        took, self._took_lease = self._took_lease, False
        try:
            if took and not self._wrapper.in_atomic_block:
                if self.lease is not None:
                    self.release()
                elif self.pool is None:
                    self._wrapper.close()
        finally:
            self.end(BLOCK)

    def keep(self) -> bool:
        """Keep the lease for the rest of the unit of work; false if there is no pool."""
        if not self.begin(MOMENT):
            return False
        self._took_lease = False
        self.holds |= LEASED
        self.end(MOMENT)
        return True

    # Threads and processes

    def share(self) -> None:
        """Other threads use the wrapper too, at any moment."""
        self._is_special = True
        lease = self.lease
        if lease is not None and (self.holds & IN_USE or self.use(lease)):
            self.holds |= SHARED
            lease.pool.share(lease)  # type: ignore[attr-defined]

    def unshare(self) -> None:
        """No other thread does any more."""
        lease = self.lease
        self._is_special = self._find_out_if_special()
        if lease is not None and lease.is_held() and self.thread == threading.get_ident():
            lease.pool.unshare(lease)  # type: ignore[attr-defined]
        self.end(SHARED)

    def after_fork(self) -> None:
        """In a forked child: what was leased is the parent's."""
        lease = self.lease
        self.warm = None
        self._unit = _UNKNOWN
        if lease is not None:
            self.depth = 0
            self._took_lease = False
            self._forget_transaction()
            self._let_go()
            self.holds = 0

    def leave_at_exit(self) -> None:
        """At the exit of the process: close what this thread still leases."""
        lease = self.lease
        if lease is not None and self.thread == threading.get_ident():
            is_ours = self.holds & IN_USE or self.use(lease)
            self._let_go()
            if is_ours and lease.is_held():
                lease.discard()
