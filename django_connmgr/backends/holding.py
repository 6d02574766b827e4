"""Why a wrapper's lease must not be taken away, and for how long."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from .._pool.owner import current_owner
from .._pool.slot import FREE, KEPT, Lease
from .cursors import HOLDING
from .leasing import LeasingWrapper
from .physical import Physical

logger = logging.getLogger("django_connmgr.backends")


# Why a lease must not be taken away. The first five say that it is being used right now.
CURSOR, TRANSACTION, BLOCK, MOMENT, SHARED = 1, 2, 4, 8, 64
IN_USE = CURSOR | TRANSACTION | BLOCK | MOMENT | SHARED
# These keep it for the rest of the unit of work, also while it is not being used.
LEASED, SESSION = 16, 32


class HoldingWrapper(LeasingWrapper):
    """The part of a wrapper that keeps its lease while the connection is needed.

    A lease without a hold may be taken away at any moment by another thread (see
    ``Claim``), which touches the connection and never the wrapper. So whatever is about
    to use the connection begins a hold first, which leases anew if the lease is lost.

    Holds are changed by the wrapper's own thread alone, so they need no lock. Finalisers
    of cursors may run in the middle of a change, and on any thread: they keep out while
    ``_busy`` is set or the thread is another, and the next change sees what they noted.
    """

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self._holds = 0
        #: Above 0 while holds are being changed, for finalisers to keep out.
        self._busy = 0
        self._is_in_set_autocommit = False
        #: The driver's open cursors. Finalisers of Django's, which are around them, run on
        #: any thread.
        self._cursors: dict[Any, None] = {}

    def begin_hold(self, reason: int) -> None:
        """Keep the lease from being taken away; leases first if there is none (any more)."""
        self._busy += 1
        try:
            lease = self._lease
            if lease is None:
                if self._released is None or not self._retake(self._released):
                    self._lease_anew()
            elif not self._holds & IN_USE:
                claim = lease.claim
                if claim.token.pop(claim.place, False):  # As ``pick_up()``.
                    slot = lease._slot
                    if slot is not None:
                        slot.used_at = lease.pool.now()
                else:  # Reclaimed, or collected by the end of its unit.
                    self._lose()
                    # Only dropped, not forgotten: whoever collected it may still be giving
                    # it back, and if whoever took the token was interrupted, it is nobody's
                    # and its finaliser reports it.
                    del lease
                    self._lease_anew()
            self._holds |= reason
        finally:
            self._busy -= 1

    def end_hold(self, reason: int) -> None:
        """Let it be taken away again, unless there are other reasons."""
        self._busy += 1
        try:
            was_in_use = self._holds & IN_USE
            holds = self._holds & ~reason
            if holds & CURSOR and not self._cursors:
                holds &= ~CURSOR  # The last one was collected.
            self._holds = holds
            lease = self._lease
            if lease is not None and was_in_use and not holds & IN_USE:
                pool = lease.pool
                if self._is_eager and not holds:
                    self._give_back(lease)
                elif pool.waiters and not holds and pool.is_short(current_owner()):
                    # Who waits has waited already: there is no token to be put down for it.
                    self._give_back(lease, may_stay=False)
                else:
                    claim = lease.claim  # As ``put_down()``.
                    place = claim.place = KEPT if holds else FREE
                    claim.token[place] = True
                    # Looked at after the token is down: see ``Claim``.
                    if claim.is_due or pool.waiters:
                        self._give_back_if_wanted(lease)
        finally:
            self._busy -= 1
        if self._holds & IN_USE == CURSOR and not self._cursors and not self._busy:
            self.end_hold(CURSOR)  # The last one was collected in the middle of this.

    def _give_back_if_wanted(self, lease: Lease[Physical]) -> None:
        claim = lease.claim
        is_wanted = claim.is_due or (not self._holds and lease.pool.is_short(current_owner()))
        if is_wanted and claim.pick_up():
            self._give_back(lease)

    def _keep(self, reason: int) -> None:
        """Hold the lease for the rest of the unit of work."""
        self.begin_hold(MOMENT)
        self._holds |= reason
        self.end_hold(MOMENT)

    @property
    def _is_pooled(self) -> bool:
        """Whether connections are leased: not while the wrapped engine opens one."""
        return self._connect_timeout is None and (
            self._lease is not None or self.connection_pool is not None
        )

    def ensure_connection(self) -> None:
        """As stock; a caller from outside may use ``self.connection`` until the unit ends."""
        if self._lease is not None and self._holds & IN_USE:
            return
        if self._is_pooled:
            self._keep(LEASED)
        else:
            super().ensure_connection()

    def get_autocommit(self) -> bool:
        """As stock, but leases nothing: a fresh connection is as the settings say."""
        if self._lease is None and not self.in_atomic_block and self._is_pooled:
            if self.settings_dict["AUTOCOMMIT"]:
                return True
            # ``atomic`` is about to note on the wrapper that it is inside a transaction.
            self.begin_hold(MOMENT)
            self.end_hold(MOMENT)
        return super().get_autocommit() if self._lease is None else self.autocommit

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        if not self._is_pooled:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
            return
        self.begin_hold(TRANSACTION)
        # Only the engine's own statements: on-commit hooks run in ``set_autocommit(True)``.
        self._is_in_set_autocommit = not autocommit
        try:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
        finally:
            self._is_in_set_autocommit = False
            # On-commit hooks have run by now, with the connection.
            if self.autocommit and not self.in_atomic_block:
                self.end_hold(TRANSACTION)

    def _commit(self) -> None:
        self._end_transaction(super()._commit)

    def _rollback(self) -> None:
        self._end_transaction(super()._rollback)

    def _end_transaction(self, end: Callable[[], None]) -> None:
        """Commit or roll back, unless the connection may be somebody else's by now.

        A lease without a hold has no transaction: one that was begun by hand is session
        state, which keeps the lease, but only until another thread ends the unit of work.
        """
        lease = self._lease
        if lease is None:
            end()
            return
        self._busy += 1
        try:
            holds = self._holds
            if not (holds & IN_USE or (holds & SESSION and lease.claim.pick_up())):
                return
            self._holds |= MOMENT
        finally:
            self._busy -= 1
        try:
            end()
        finally:
            self.end_hold(MOMENT)

    def is_usable(self) -> bool:
        if self._lease is None:
            return bool(super().is_usable())
        self.begin_hold(MOMENT)
        try:
            return bool(super().is_usable())
        finally:
            self.end_hold(MOMENT)

    def _cursor(self, name: str | None = None) -> Any:
        if self._thread_ident != threading.get_ident():
            self.validate_thread_sharing()  # Before another thread's holds are touched.
        if self._connect_timeout is not None or (self._adopted is None and not self._is_pooled):
            return super()._cursor(name)
        self._busy += 1
        try:
            self.begin_hold(CURSOR)
            try:
                cursor = super()._cursor(name)
            except BaseException:
                self.end_hold(0 if self._cursors else CURSOR)
                raise
        finally:
            self._busy -= 1
        return cursor

    def _prepare_cursor(self, cursor: Any) -> Any:
        wrapped = super()._prepare_cursor(cursor)
        wrapped.__class__ = HOLDING[wrapped.__class__]
        self._cursors[wrapped.cursor] = None
        return wrapped

    def cursor_closed(self, cursor: Any) -> None:
        """An open cursor of the driver's fewer.

        The collector closes the cursors of forgotten generators (``iterator()``), on any
        thread and in the middle of a change of holds, so see ``cursor_collected()``.
        """
        if self._cursors.pop(cursor, self) is self or self._cursors:
            return
        if not self._busy and self._thread_ident == threading.get_ident():
            self.end_hold(CURSOR)

    def cursor_collected(self, cursor: Any) -> None:
        """One around this cursor of the driver's was dropped without being closed.

        A finaliser: no lock, no I/O.

        On the owner's thread, and not in the middle of a change of holds (which would see
        the ground shift under its feet), the token goes down at once and a waiter may
        have it. Otherwise the next change of holds sees that the last cursor is gone.
        """
        if self._cursors.pop(cursor, self) is self or self._cursors:
            return
        lease = self._lease
        if (
            self._busy
            or lease is None
            or self._thread_ident != threading.get_ident()
            or self._holds & IN_USE != CURSOR
        ):
            return
        holds = self._holds = self._holds & ~CURSOR
        claim = lease.claim
        claim.put_down(KEPT if holds else FREE)
        # As ``end_hold()``, except that somebody else must give it back.
        if (claim.is_due or (self._is_eager and not holds)) and claim.pick_up():
            lease.pool.report_orphan(lease.slot, lease.id)
        else:
            lease.pool.nudge()

    def note_session_state(self) -> None:
        """The session of the server is about to be changed: keep it for this unit of work."""
        if self._connect_timeout is not None:
            self._opened_with_session_state = True
        elif self._physical is not None and not self._is_in_set_autocommit:
            if not self._holds & SESSION and self._lease is not None:
                logger.debug("The connection of %r holds session state from here on.", self.alias)
                self._lease.pool.count_session_hold()
            self._physical.has_session_state = True
            self._holds |= SESSION

    def inc_thread_sharing(self) -> None:
        super().inc_thread_sharing()
        if self._lease is None:
            self._released = None  # What is leased next has to be shared.
        else:
            self.begin_hold(SHARED)
            self._share(self._lease)

    def _share(self, lease: Lease[Physical]) -> None:
        # Other threads may be using it at any moment, whoever looks.
        self._holds |= SHARED
        lease.share()

    def dec_thread_sharing(self) -> None:
        super().dec_thread_sharing()
        if not self._thread_sharing_count:
            lease = self._lease
            is_ours = self._thread_ident == threading.get_ident()
            if lease is not None and lease.is_held() and is_ours:
                lease.unshare()
            self.end_hold(SHARED)

    # Letting go

    def _release_if_ours(self, lease: Lease[Physical]) -> bool:
        self._busy += 1  # Or a finaliser could put the token down in the middle of this.
        try:
            if self._holds & IN_USE or lease.claim.pick_up():
                self._give_back(lease)
                return True
            self._lose()  # Somebody took it already, and may still be giving it back.
            return False
        finally:
            self._busy -= 1

    def _give_back(self, lease: Lease[Physical], *, may_stay: bool = True) -> None:
        if self.run_on_commit:
            self.run_on_commit = []
        cursors, physical, adopted = self._cursors, self._physical, self._adopted
        self._let_go()
        if cursors and lease.is_held():
            # As on a connection that was closed, nothing can be done with them any more.
            for cursor in cursors:
                with contextlib.suppress(Exception):  # The release looks at what is left.
                    cursor.close()
        # Not if the release undid what a subclass remembers: see ``forget_session``.
        is_same = physical is not None and not physical.has_session_state
        number = self._unit_number
        is_over = lease.pool.check_in(lease, may_stay=may_stay) or lease._slot is None
        if self._lease is not None or self._released is not None or self._unit_number != number:
            return  # Code that ran meanwhile, a log handler's say, has leased for itself.
        if self._may_return and self.autocommit and is_same:
            self._adopted = adopted
            if is_over and not self._thread_sharing_count:
                self._released = lease

    def _lose(self) -> None:
        """Somebody took the lease while nothing needed it."""
        is_same = self._may_return and not self._holds & SESSION
        adopted = self._adopted
        self._let_go()
        if is_same:
            self._adopted = adopted

    def _let_go(self) -> None:
        # In this order, for the sake of interruptions: a connection without a lease might
        # be somebody else's; a lease that is neither in use nor put down counts as lost.
        self._holds &= BLOCK
        self.connection = None
        self._lease = None
        self._physical = None
        self._adopted = None
        if self._cursors:
            self._cursors = {}
