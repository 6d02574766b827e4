"""What one of Django's wrappers has leased, why the lease is not over yet, and how it ends."""

import contextlib
import logging
import weakref
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from django.db import Error
from django.db.utils import ProgrammingError

from .._pool.driver import ConnectionState
from .._pool.lease import Lease
from .._pool.pool import ConnectionPool
from .._pool.scope import Scope
from .._pool.slot import Slot
from ..exceptions import DeadlineExceeded
from ..units.current import find_unit, get_current
from ..units.unit import Unit
from .opening import Opening
from .permits import permit_checkout
from .physical import Physical
from .reader import Unfit

logger = logging.getLogger("django_connmgr.backends")

# Holds: why a lease is not over yet, besides open cursors. The first four say that it is being
# used right now.
TRANSACTION, BLOCK, MOMENT, SHARED = 2, 4, 8, 64
IN_USE = TRANSACTION | BLOCK | MOMENT | SHARED
# These keep it for the rest of the unit of work, also while it is not being used.
LEASED, SESSION = 16, 32
_WORDS = {
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


class Borrower:
    """Leases a connection for one wrapper while it is used, and gives it back.

    The wrapper has the driver's connection exactly while it is leased. Holds are changed by the
    wrapper's own thread alone, so they need no lock. The callback of a collected cursor may run
    between any two bytecodes, on any thread. It ends the lease only on the wrapper's own thread,
    and only if an open cursor is the one hold that there is. So code that begins another hold
    notes it first, and looks at the lease after that.
    """

    __slots__ = (
        *("_adopted", "_adoption", "_asks_engine", "_asks_once", "_is_asking", "_is_lent"),
        *("_is_special", "_is_warm", "_permit", "_scope", "_settings", "_took_lease", "_wrapper"),
        *("cursors", "depth", "holds", "is_beginning", "is_dedicated", "lease", "opening", "pool"),
        *("thread", "warm", "was_left_elsewhere"),
    )

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = wrapper
        self.thread: int = wrapper._thread_ident
        #: The pool to lease from, as the settings were when they were last looked at; ``None``
        #: if there is none. They are looked at again in each unit of work, and after ``close()``.
        self.pool: Pool | None = None
        self._settings: dict[str, Any] | None = None
        self._scope: Scope | None = _UNKNOWN
        #: Its options: what is given back stays warm, others may take that, permanent checkouts.
        self._is_warm = self._is_lent = False
        self._permit = "allow"
        self.lease: Lease[Physical] | None = None
        self.holds = 0
        #: The slot that was leased last, if it stays warm when it is given back.
        self.warm: Slot[Physical] | None = None
        #: The driver's open cursors, by ``id()``, and what calls back when one is collected.
        self.cursors: dict[int, weakref.ref[Any]] = {}
        #: The connection that the wrapper knows, and the state that it was opened with.
        self._adoption: object = object()
        self._adopted: object = None
        #: What the wrapper opens for the pool, while it does.
        self.opening: Opening | None = None
        #: The wrapped engine ensures connections in its own way, or something else does and is to
        #: be asked once; and whether it is being asked.
        self._asks_engine: bool = wrapper.ensures_in_its_own_way
        self._asks_once = self._is_asking = False
        #: More is to be done than to lease: see ``_prepare()`` and ``_finish()``.
        self._is_special = True
        #: The engine's own statements that begin a transaction are being made.
        self.is_beginning = False
        #: How many ``with_connection()`` blocks are open, and whether the outermost took the lease.
        self.depth = 0
        self._took_lease = self.was_left_elsewhere = False
        #: A connection of its own, past the pool: ``dedicated()``.
        self.is_dedicated = False

    def describe_holds(self) -> tuple[str, ...]:
        """The holds in words, for those who look at the lease."""
        words = tuple(word for hold, word in _WORDS.items() if self.holds & hold)
        return ("cursor", *words) if self.cursors else words

    def is_in_use(self) -> bool:
        """Whether a connection is leased, and is being used right now."""
        return self.lease is not None and bool(self.holds & IN_USE or self.cursors)

    # Leasing

    def lease_for_cursor(self, timeout: float | None = None) -> bool:
        """Have a connection leased, for a cursor that is about to be opened; false without a pool.

        Raises what opening a connection the engine's own way does, or the pool's errors.
        ``timeout`` is for the checkout, in seconds; ``None``: the pool's.
        """
        lease = self.lease
        if lease is not None:
            if self.thread != get_ident():
                self._wrapper.validate_thread_sharing()
            if self.cursors or self.holds & IN_USE or self.use(lease):
                if self._wrapper.connection is None:  # An interruption came in between.
                    self._wrapper.connection = lease.connection.raw
                return True
            # It went with its unit of work, on another thread.
        slot: Any = self.warm
        if slot is not None:
            lease = self.pool.retake(slot, self)  # type: ignore[union-attr]
            if lease is not None:
                # First the lease, then the connection: an interruption in between must not leave
                # a connection here whose lease is nobody's.
                self.lease = lease
                self._wrapper.connection = slot.connection.raw
                return True
        return self._acquire(timeout)

    def begin(self, hold: int, timeout: float | None = None) -> bool:
        """Hold a connection for ``hold``, and lease one first if there is none; false without a
        pool. Raises as ``lease_for_cursor()``.
        """
        before = self.holds
        self.holds = before | hold  # First: see the class.
        lease = self.lease
        if lease is not None and (before & IN_USE or self.cursors or self.use(lease)):
            return True
        try:
            self.holds |= hold  # Again: a lease that was taken back takes its holds along.
            has_begun = self.lease_for_cursor(timeout)
        except BaseException:
            self.holds &= ~hold | before
            raise
        if not has_begun:
            self.holds = before
        return has_begun

    def _acquire(self, timeout: float | None = None) -> bool:
        """As ``lease_for_cursor()``, where there is nothing warm."""
        wrapper = self._wrapper
        if self.thread != get_ident():
            wrapper.validate_thread_sharing()
        try:
            unit = get_current()
            if unit is None or not unit.is_request:
                unit = find_unit()
                timeout = self._bound(unit, timeout)
            scope = None if unit is None else unit.scope
            pool: Any = self.pool
            if (
                scope is not self._scope
                and (self._is_special or wrapper.settings_dict != self._settings)
            ) or pool.is_closed:
                is_done = self._prepare(scope)
                if is_done is not None:
                    return is_done
                pool = self.pool
            self._scope = scope
            lease = self.lease = pool.acquire(timeout, scope, self, wrapper.open_physical)
            slot: Any = lease.slot
            physical = slot.connection
            if self._is_warm:
                self.warm = slot
            wrapper.connection = physical.raw
            if physical.adoption is not self._adoption:
                self._adopt(physical)
            if self._is_special:
                self._finish(scope, physical)
        except BaseException as error:
            left = self._turn_to_another_host(error, timeout)
            if left is not None:
                return self._acquire(left)
            self._undo(error)
            raise
        return True

    def _bound(self, unit: Unit | None, timeout: float | None) -> float | None:
        """The timeout of a checkout, which ends no later than its unit's time does."""
        deadline = None if unit is None or unit.is_over else unit.scope.deadline
        if deadline is None:
            return timeout
        left = deadline.time_left()
        if left <= 0:
            raise DeadlineExceeded(
                f"{deadline.describe()}: it gets no connection of {self._wrapper.alias!r} any more."
            )
        if timeout is None:
            pool: Any = self.pool or self._wrapper.connection_pool
            timeout = left if pool is None else pool.driver.options.timeout
        return min(left, timeout)

    def _turn_to_another_host(self, error: BaseException, timeout: float | None) -> float | None:
        """How many seconds are left for another of several servers, if a checkout failed at one.

        ``None`` if it failed for another reason, or there is no other server.
        """
        wrapper = self._wrapper
        if wrapper.reader is None:
            return None
        self._scope = _UNKNOWN
        is_gone = isinstance(error, wrapper.Database.OperationalError) and self.lease is None
        reason = None if isinstance(error, Unfit) else error
        if (is_gone or reason is None) and wrapper.reader.leave(reason):
            if timeout is None:
                timeout = self.pool.driver.options.timeout  # type: ignore[union-attr]
            left: float = wrapper.reader.time_left(timeout)
            return left
        wrapper.reader.settle(is_well=False)
        return None

    def _undo(self, error: BaseException) -> None:
        """A checkout was interrupted, or refused: raises a refusal of the driver's as Django's."""
        self._drop()  # It came in between: nothing knows yet what was leased.
        self.raise_as_django(error)

    def _drop(self) -> None:
        """Give back what was just leased, and not used yet."""
        lease = self.lease
        if lease is not None:
            self._let_go()
            lease.pool.release(lease)

    def raise_as_django(self, error: BaseException) -> None:
        """Raise an error of the driver's as Django's, as ``wrap_database_errors`` does."""
        self._raise_if_killed()
        if isinstance(error, self._wrapper.Database.Error):
            with self._wrapper.wrap_database_errors:
                raise error

    def use(self, lease: Lease[Physical]) -> bool:
        """Use a lease that is kept; false if it was taken back meanwhile, and forgotten here."""
        if self.pool is not None and self.pool.use(lease):
            return True
        self._let_go()
        return False

    def _prepare(self, scope: Scope | None) -> bool | None:
        """What comes before a lease by other settings, or a special one.

        True if the engine has leased in its own way, false if there is no pool, ``None`` to go on.
        """
        wrapper = self._wrapper
        pool = self.pool
        if self.opening is not None:
            return False
        if pool is None or pool.is_closed or wrapper.settings_dict != self._settings:
            pool = self._look_up()
        if pool is None:
            self._scope = _UNKNOWN  # Or the unit before would be taken for known, in its pool.
            return False
        if wrapper.closed_in_transaction:
            if wrapper.in_atomic_block:
                raise ProgrammingError("Cannot open a new connection in an atomic block.")
            self._forget_transaction()
        if scope is None and not self.depth:
            permit_checkout(self._permit, wrapper.alias)
        if self._is_asking or not (self._asks_engine or self._asks_once):
            return None
        self._is_asking, self._asks_once = True, False
        try:
            wrapper.ensure_as_engine()  # It calls ``connect()``, and so ``_acquire()``.
        finally:
            self._is_asking = False
            self._find_out_if_special()
        return True

    def _finish(self, scope: Scope | None, physical: Physical) -> None:
        """What comes after a special lease. Raises ``Unfit`` if another server should be read."""
        wrapper = self._wrapper
        if wrapper.reader is not None:
            try:
                wrapper.reader.check(self.pool.driver, physical)  # type: ignore[union-attr]
            except BaseException:
                holds = self.holds  # The next lease is for the same.
                self._drop()
                self.holds = holds
                raise
        if not wrapper.settings_dict["AUTOCOMMIT"]:
            wrapper.autocommit = False
            self.holds |= TRANSACTION
        if wrapper._thread_sharing_count:
            self.share()
        is_chosen_anew = self._permit != "allow" or wrapper.reader is not None
        if self._find_out_if_special() or (scope is None and is_chosen_anew):
            # So is the next one: it must not be retaken as it is.
            self._scope, self.warm = _UNKNOWN, None

    def _find_out_if_special(self) -> bool:
        """Whether the next lease is special in any unit of work; or only outside of all."""
        wrapper = self._wrapper
        is_special = bool(
            self.opening is not None
            or self.pool is None
            or self._asks_engine
            or self._asks_once
            or wrapper.closed_in_transaction
            or not wrapper.settings_dict["AUTOCOMMIT"]
            or wrapper._thread_sharing_count
        )
        self._is_special = is_special or self._permit != "allow" or wrapper.reader is not None
        return is_special

    def _look_up(self) -> Pool | None:
        """The pool that the settings lead to; ``None`` if there is none for this wrapper now."""
        wrapper = self._wrapper
        reader = wrapper.reader
        # First: an interruption in the middle must not leave a pool to what was chosen before.
        self._adoption, self._adopted, self.warm = object(), None, None
        self.pool, self._settings, self._scope = None, None, _UNKNOWN
        if reader is not None:
            wrapper.settings_dict = reader.choose(is_pooled=wrapper.is_poolable())
        settings = wrapper.settings_dict
        pool = None if self.is_dedicated else wrapper.connection_pool
        if pool is not None:
            options = pool.driver.options
            self._is_warm = options.release == "request"
            self._is_lent = options.reclaim
            self._permit = options.permanent_checkout
        if reader is None:
            # Copies, because both may be changed in place.
            self._settings = {**settings, "OPTIONS": dict(settings["OPTIONS"])}
        elif reader.host is not None and pool is not None:
            reader.host.pool = pool
        self.pool = pool
        self._asks_once = wrapper.is_guarded()
        self._find_out_if_special()
        return pool

    def has_pool(self) -> bool:
        """Whether connections are leased; not while the wrapper opens one for the pool."""
        if self.opening is not None or self.is_dedicated:
            return False
        pool = self.pool
        is_known = pool is not None and not pool.is_closed
        return is_known or self._wrapper.connection_pool is not None

    def connect(self) -> bool:
        """Lease a connection as ``connect()`` would open one; false if there is no pool."""
        return self._acquire() if self._is_asking else self.keep()

    def begin_opening(self, opening: Opening | None) -> None:
        """The wrapper opens a connection for the pool: what it does meanwhile, it does on that."""
        self.opening = opening
        self._scope = _UNKNOWN
        self._find_out_if_special()

    def forget_settings(self) -> None:
        """What is leased next is leased as ``settings_dict`` says by then."""
        self._scope = _UNKNOWN
        if self._wrapper.closed_in_transaction:
            self._is_special = True

    def _adopt(self, physical: Physical) -> None:
        """Become what stock ``connect()`` leaves behind, on a connection that exists already.

        A connection that no other wrapper had since this one did is known. What all connections
        of a pool have in common is noted on the wrapper once.
        """
        wrapper = self._wrapper
        if physical.wrapper_state is not self._adopted:
            self._adopted = physical.wrapper_state
            vars(wrapper).update(physical.wrapper_state)
            wrapper.health_check_enabled = False  # The pool hands out no other than healthy ones.
            wrapper.autocommit = wrapper.settings_dict["AUTOCOMMIT"]
        wrapper.forget_session()
        self._adoption = physical.adoption = object()

    def _forget_transaction(self) -> None:
        wrapper = self._wrapper
        wrapper.in_atomic_block = wrapper.needs_rollback = wrapper.closed_in_transaction = False
        wrapper.savepoint_ids, wrapper.atomic_blocks, wrapper.run_on_commit = [], [], []

    # Cursors

    def cursor_collected(self, hold: weakref.ref[Any]) -> None:
        """A cursor of the driver's was dropped without being closed.

        A finaliser: no lock, no I/O. On the wrapper's own thread, and if nothing else holds the
        lease, it ends at once, and the pool takes it in. Otherwise the next end of a hold sees
        that the last cursor is gone.
        """
        cursors = self.cursors
        for key, other in cursors.copy().items():
            if other is hold:
                cursors.pop(key, None)
        lease = self.lease
        slot = None if lease is None else lease.slot
        if cursors or self.holds or lease is None or slot is None or self.thread != get_ident():
            return  # It is in use, or it stays leased for the rest of the unit of work.
        self._wrapper.connection = self.lease = None
        reference = slot.lease
        if reference is not None and reference() is lease:  # The pool has not taken it back yet.
            slot.lost.report(slot, reference, was_forgotten=False)

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

    def note_statement(self, sql: Any) -> None:
        """A statement is about to be sent in a way of the driver's own."""
        self._wrapper.note_statement(sql)

    def note_interruption(self, error: BaseException) -> None:
        """An exception came out of a query, or of the end of a transaction: was it cut short?

        If so, or if something like ``KeyboardInterrupt`` makes it likely, the connection
        is given up here and now: what it would answer next is unknown.
        """
        wrapper, lease = self._wrapper, self.lease
        self._raise_if_killed()
        if isinstance(error, (wrapper.Database.Error, Error)):
            return
        if lease is None or not lease.is_held():
            return
        is_harmless = isinstance(error, (Exception, GeneratorExit))
        state = lease.pool.driver.state(lease.connection)  # type: ignore[attr-defined]
        if is_harmless and state is not ConnectionState.UNUSABLE:
            return
        if wrapper.in_atomic_block:
            wrapper.closed_in_transaction = self._is_special = True
            wrapper.needs_rollback = True
        self._let_go()
        lease.discard()

    def _raise_if_killed(self) -> None:
        """If the lease was ended under its owner, say why, and not what the driver makes of it."""
        lease = self.lease
        if lease is not None and lease.slot is None:
            error = lease.pool.error_of_killed(lease)
            if error is not None:
                raise error

    # Ending

    def end_transaction(self, end: Callable[[], None]) -> None:
        """Commit or roll back, unless the connection may be another owner's by now.

        A lease without a hold has no transaction: one that was begun by hand is session
        state, which keeps the lease, but only until another thread ends the unit of work.
        """
        lease, was_in_use = self.lease, self.is_in_use()
        if lease is None:
            end()
            return
        self.holds |= MOMENT
        if not was_in_use and not self.use(lease):
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
        self.holds &= ~hold
        if not self.cursors:
            self.rest()

    def rest(self) -> None:
        """No cursor is open any more: give the connection back, if nothing else holds it."""
        lease = self.lease
        if self.holds or lease is None:
            if lease is not None and not self.holds & IN_USE:
                self._keep_for_unit(lease)
            return
        self._wrapper.connection = self.lease = None
        if not self.pool.rest(lease, self.warm):  # type: ignore[union-attr]
            if lease.slot is None:
                self.warm = None  # Another owner has it, or it was closed.
            else:
                self._settle(lease)

    def _settle(self, lease: Lease[Physical]) -> None:
        """A connection that nothing holds any more is not clean."""
        pool: Any = self.pool
        if lease.is_held() and pool.has_transaction(lease):
            # It was begun past Django, and is for the end of the unit of work to end.
            self.lease, self._wrapper.connection = lease, lease.connection.raw
            self.holds |= SESSION
            self._keep_for_unit(lease)
        else:
            pool.release(lease, is_warm=self.warm is not None)

    def _keep_for_unit(self, lease: Lease[Physical]) -> None:
        """Keep it until the end of this unit of work.

        It may be of another one: of a task of this thread that had it warm before, whose end
        must not take it.
        """
        unit = find_unit()
        if not self.pool.keep(lease, None if unit is None else unit.scope):  # type: ignore[union-attr]
            self.give_back()

    def release(self) -> bool:
        """Give the connection back, unless a transaction or a block holds it; true if it went.

        Never raises for what is wrong with the connection: that is closed instead.
        """
        if self.lease is None:
            return self.cool()
        if self.was_left_elsewhere:
            self.was_left_elsewhere = False
            self.depth = 0
        if self._wrapper.in_atomic_block or self.depth:
            return False
        return self.suspend()

    def suspend(self) -> bool:
        """As ``release()``, from inside a block too; the next query leases again."""
        if self.lease is None:
            return self.cool()
        self._wrapper.validate_thread_sharing()
        return self.give_back()

    def choose_anew(self) -> None:
        """Look at the settings again before the next lease, and retake nothing."""
        self._scope = _UNKNOWN
        self.cool()

    def cool(self) -> bool:
        """Let others have what is warm for this thread; true if it was."""
        slot, self.warm = self.warm, None
        return slot is not None and self.pool.cool(slot)  # type: ignore[union-attr]

    def give_back(self) -> bool:
        """Give the connection back, whatever holds it; false if another thread did already."""
        lease, cursors = self.lease, self.cursors
        if lease is None or not (self.is_in_use() or self.use(lease)):
            return False
        wrapper: Any = self._wrapper
        if wrapper.run_on_commit:
            wrapper.run_on_commit = []
        self._let_go()
        if cursors and lease.is_held():
            # As on a connection that was closed, nothing can be done with them any more.
            for cursor in [reference() for reference in cursors.values()]:
                if cursor is not None:
                    with contextlib.suppress(Exception):  # The release looks at what is left.
                        cursor.close()
        self.pool.release(lease)  # type: ignore[union-attr]
        return True

    def _let_go(self) -> None:
        # In this order, for the sake of interruptions: a connection without a lease might
        # be another owner's; a lease that is neither here nor released counts as lost.
        wrapper = self._wrapper
        self.holds = self.holds & BLOCK if self.depth else 0
        wrapper.connection = None
        self.lease = self.warm = None
        if self.cursors:
            self.cursors = {}
        wrapper.autocommit = wrapper.settings_dict["AUTOCOMMIT"]
        self._scope = _UNKNOWN

    def has_only_a_cursor(self, *, or_block: bool = False) -> bool:
        """Whether one open cursor is all that holds the lease; or a block, too."""
        others = self.holds & ~BLOCK if or_block else self.holds
        return not others and len(self.cursors) == 1

    def has_lost_connection(self) -> bool:
        """Whether a connection is leased that nothing can be done with any more. No round trip."""
        lease: Any = self.lease
        if lease is None or not lease.is_held():
            return False
        state = lease.pool.driver.state(lease.connection)
        return state is ConnectionState.UNUSABLE

    def has_transaction(self) -> bool:
        """Whether autocommit is off and something waits to be committed."""
        lease = self.lease
        return (
            lease is not None
            and bool(self.holds & TRANSACTION)
            and lease.pool.has_transaction(lease)  # type: ignore[attr-defined]
        )

    # Blocks, and leases by hand

    def enter_block(self, timeout: float | None) -> None:
        """Hold a connection until the matching ``exit_block()``. Blocks nest."""
        before = self.lease
        self.depth += 1
        try:
            if not self.begin(BLOCK, timeout):
                before = before or self._wrapper.connection
                self._wrapper.ensure_connection()
        except BaseException:
            self.depth -= 1
            raise
        if self.depth == 1:
            self._took_lease = before is None

    def exit_block(self) -> None:
        """End a block; the outermost gives back what it took itself."""
        depth = self.depth
        if not depth:
            return  # A forked child leaves a block of its parent's.
        self.depth = depth - 1
        if depth > 1:
            return
        took_lease, self._took_lease = self._took_lease, False
        try:
            if took_lease:
                self._give_back_after_block()
        finally:
            self.end(BLOCK)

    def _give_back_after_block(self) -> None:
        lease: Any = self.lease
        if lease is None:
            if self.pool is None and not self._wrapper.in_atomic_block:
                self._wrapper.close()
        elif self.holds != BLOCK or self.cursors:
            self.release()
        elif lease.slot is None or lease.slot.scope is None or not self._is_lent:
            # It would stay warm until its thread ends, or though others need it.
            self.holds, self.warm = 0, None
            self._wrapper.connection = None
            self.lease = None
            self.pool.release(lease)  # type: ignore[union-attr]

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
        if lease is None:
            self.cool()  # The next is leased as a shared one, and not retaken.
        elif self.is_in_use() or self.use(lease):
            self.holds |= SHARED
            lease.pool.share(lease)  # type: ignore[attr-defined]

    def unshare(self) -> None:
        """No other thread does any more."""
        lease = self.lease
        self._find_out_if_special()
        if lease is not None and lease.is_held() and self.thread == get_ident():
            lease.pool.share(lease, is_shared=False)  # type: ignore[attr-defined]
        self.end(SHARED)

    def after_fork(self) -> None:
        """In a forked child: what was leased is the parent's."""
        self.warm = None
        self._scope = _UNKNOWN
        if self.lease is not None:
            self.depth = 0
            self._took_lease = False
            self._forget_transaction()
            self._let_go()
            self.holds = 0

    def leave_at_exit(self) -> None:
        """At the exit of the process: close what this thread still leases."""
        lease = self.lease
        if lease is not None and self.thread == get_ident():
            is_ours = self.is_in_use() or self.use(lease)
            self._let_go()
            if is_ours and lease.is_held():
                lease.discard()
