"""The wrapper that borrows its connections from a pool: blocks, releasing, fork and exit."""

from __future__ import annotations

import atexit
import functools
import os
import threading
import weakref
from typing import Any, ClassVar

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from .._current import find_unit
from .._pool.driver import ConnectionState
from .._pool.pool import ConnectionPool
from .._registry import registry
from ..conf import parse_pool_options
from .errors import ErrorWrapper
from .holding import BLOCK, IN_USE, LEASED, TRANSACTION, HoldingWrapper
from .permits import permit_checkout
from .physical import Physical, PhysicalDriver
from .presence import check_app_installed


class PooledWrapper(HoldingWrapper):
    """Mixed in before a stock ``DatabaseWrapper``, makes it borrow its connections from a pool.

    ``self.connection`` is the real driver connection while the wrapper holds a lease and
    ``None`` otherwise, which to Django's eyes is a connection not opened yet. So Django's
    own code leases (``ensure_connection()``) and releases (``close()``,
    ``close_if_unusable_or_obsolete()``) without knowing it.
    """

    driver_class: ClassVar[type[PhysicalDriver]]

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        #: How many ``with_connection()`` blocks are open.
        self._block_depth = 0
        #: Whether the outermost of them took the lease, and so gives it back.
        self._block_took_lease = False
        #: The settings that decide where connections go, as they were last, and what the
        #: pool for them is known by; ``None`` if there is none.
        self._address: tuple[Any, ...] = ()
        self._pool_key: tuple[Any, ...] | None = None
        #: A connection of its own, past the pool: ``dedicated()``.
        self.is_dedicated = False
        with _wrappers_lock:
            _wrappers.add(self)

    # The pool

    @property
    def connection_pool(self) -> ConnectionPool[Physical] | None:
        """The pool of this process that this wrapper borrows from; ``None`` if it does not."""
        settings = self.settings_dict
        address = (
            settings["NAME"],
            settings["HOST"],
            settings["PORT"],
            settings["USER"],
            settings["OPTIONS"],
        )
        if address != self._address:
            self._note_address(*address)
        key = self._pool_key
        if key is None or self.is_dedicated:
            return None
        return registry.get(key) or registry.get_or_make(key, self.alias, settings, self._make_pool)

    def _note_address(
        self, name: Any, host: str, port: Any, user: str, options: dict[str, Any]
    ) -> None:
        # A copy of the options, because they may be changed in place.
        self._address = (name, host, port, user, dict(options))
        self._pool_key = None
        if self.alias != NO_DB_ALIAS and self.is_poolable():
            others = repr([item for item in options.items() if item[0] != "pool"])
            self._pool_key = (self.alias, name, host, port, user, others)

    def can_be_pooled(self) -> bool:
        """Whether connections to this database outlive being given back."""
        return True

    def is_poolable(self) -> bool:
        """Whether there is to be a pool: not for ``OPTIONS = {"pool": False}``."""
        if not self.can_be_pooled():
            return False
        pool = self.settings_dict["OPTIONS"].get("pool", True)
        return pool is True or isinstance(pool, dict) or parse_pool_options(pool)[0] is not None

    def _make_pool(self) -> ConnectionPool[Physical]:
        settings = self.settings_dict
        if settings.get("CONN_MAX_AGE", 0) != 0:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['CONN_MAX_AGE'] must be 0: connections outlive "
                f"requests in the pool. Use OPTIONS['pool']['max_lifetime'] instead."
            )
        options, problems = parse_pool_options(
            settings["OPTIONS"].get("pool", True),
            health_checks=settings.get("CONN_HEALTH_CHECKS", False),
        )
        if problems or options is None:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS']['pool']: "
                + " ".join(f"{problem.message} {problem.hint}" for problem in problems)
            )
        # Not this wrapper's own method: the pool would keep it, and what it leases, for ever.
        connect = functools.partial(type(self)._connect_apart, settings, self.alias)
        return ConnectionPool(self.alias, self.driver_class(options, connect), options)

    def close_pool(self) -> None:
        """Close the pools of this alias, as the stock method does; the next use makes new ones."""
        registry.close(self.alias)

    # Leasing

    def connect(self) -> None:
        """Lease a connection, or open one past the pool where there is none."""
        pool = self.connection_pool
        if pool is None:
            super().connect()
        else:
            self._lease_from(pool)

    def _lease_again(self) -> bool:
        pool = self.connection_pool
        if pool is None:
            return False
        try:
            self._lease_from(pool)
        except self.Database.Error:
            with self.wrap_database_errors:
                raise
        return True

    def _lease_from(self, pool: ConnectionPool[Physical]) -> None:
        unit = find_unit()
        options = pool.driver.options  # type: ignore[attr-defined]
        if unit is None and not self._block_depth:
            permit_checkout(options.permanent_checkout, self.alias)
        lease = pool.checkout(self._checkout_timeout, connect=self._connect_here)
        self._is_eager = self._gives_back_eagerly = options.release == "transaction"
        self._unit_number = 0
        self._may_return = (
            not self._ensures_in_its_own_way
            and self.settings_dict["AUTOCOMMIT"]
            and type(options.reset) is str
            and (unit is not None or options.permanent_checkout == "allow")
        )
        # First the lease, then the connection: an interruption in between must not leave a
        # connection here whose lease is nobody's.
        self._lease = lease
        self._adopt(lease.connection)
        if unit is not None:
            self._join(unit, lease)
        if self._thread_sharing_count:
            self._share(lease)

    def _adopt(self, physical: Physical) -> None:
        """Become what stock ``connect()`` leaves behind, on a connection that exists already."""
        known = self._adopted
        if physical is not known or physical.adoptions != self._adoption:
            physical.adoptions += 1
            self._adopted, self._adoption = physical, physical.adoptions
            self.forget_session()
            vars(self).update(physical.wrapper_state)
            if known is None:
                self._forget_transaction()
                self.autocommit = self.settings_dict["AUTOCOMMIT"]
                if not self.autocommit:
                    self._holds |= TRANSACTION
                self.health_check_done = True
        self.errors_occurred = False
        self._physical = physical
        self.connection = physical.raw

    def _forget_transaction(self) -> None:
        self.in_atomic_block = False
        self.savepoint_ids = []
        self.atomic_blocks = []
        self.needs_rollback = False
        self.closed_in_transaction = False
        self.run_on_commit = []

    # Releasing

    def release_lease(self) -> bool:
        """Give the connection back, unless a transaction or a block holds it; true if it went.

        Never raises for what is wrong with the connection: that is closed instead.
        """
        if self._lease is None or self.in_atomic_block or self._block_depth:
            return False
        if self._thread_ident != threading.get_ident():
            self.validate_thread_sharing()
        return self._release_if_ours(self._lease)

    def has_transaction(self) -> bool:
        """Whether autocommit is off and something waits to be committed."""
        lease = self._lease
        if lease is None or not self._holds & TRANSACTION:
            return False
        state = lease.pool.driver.state(lease.connection)
        return state is ConnectionState.IN_TRANSACTION

    def suspend_lease(self) -> None:
        """Give the connection back, from inside a block too; the next query leases again."""
        if self._lease is not None and not self.in_atomic_block:
            self.validate_thread_sharing()
            self._release_if_ours(self._lease)

    def close(self) -> None:
        """As stock; what is leased next is leased anew, as ``settings_dict`` says by then."""
        super().close()
        self._released = self._adopted = None

    def _close(self) -> None:
        if self._lease is None:
            super()._close()
        else:
            self._release_if_ours(self._lease)

    def close_if_unusable_or_obsolete(self) -> None:
        """Django's call at both ends of a request: release, without asking the server anything."""
        if self._lease is not None:
            self.release_lease()
        elif self.connection is not None:
            super().close_if_unusable_or_obsolete()

    def close_if_health_check_failed(self) -> None:
        if self._lease is None:  # The pool hands out no other than healthy ones.
            super().close_if_health_check_failed()

    # Blocks of ``with_connection()``

    def enter_block(self, timeout: float | None = None) -> None:
        """Hold a connection until the matching ``exit_block()``. Blocks nest."""
        before = self._lease or self.connection
        previous, self._checkout_timeout = self._checkout_timeout, timeout
        self._block_depth += 1
        try:
            if self._adopted is not None or self._is_pooled:
                self.begin_hold(BLOCK)
            else:
                super().ensure_connection()
        except BaseException:
            self._block_depth -= 1
            raise
        finally:
            self._checkout_timeout = previous
        if self._block_depth == 1:
            self._block_took_lease = (self._lease or self.connection) is not before

    def exit_block(self) -> None:
        """End a block; the outermost gives back what it took itself."""
        if not self._block_depth:
            return  # A forked child leaves a block of its parent's.
        self._block_depth -= 1
        if self._block_depth:
            return
        took, self._block_took_lease = self._block_took_lease, False
        try:
            if took and self._lease is not None:
                self.release_lease()
            elif took and not self.in_atomic_block:
                self.close()
        finally:
            self.end_hold(BLOCK)

    def keep_lease(self) -> None:
        """Hold a connection for the rest of the unit of work, beyond the current block."""
        self._block_took_lease = False
        if self._is_pooled:
            self._keep(LEASED)
        else:
            super().ensure_connection()

    # When things go wrong

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return ErrorWrapper(self)

    def note_interruption(self, error: type[BaseException]) -> None:
        """An exception that is not the driver's came out of a query: was it cut short?

        If so, or if something like ``KeyboardInterrupt`` makes it likely, the connection
        is given up here and now: nobody can say what it would answer next.
        """
        lease = self._lease
        if lease is None or not lease.is_held() or not self._holds & IN_USE:
            return
        is_harmless = issubclass(error, (Exception, GeneratorExit))
        pool: Any = lease.pool
        if is_harmless and pool.driver.state(lease.connection) is not ConnectionState.UNUSABLE:
            return
        if self.in_atomic_block:
            self.closed_in_transaction = True
            self.needs_rollback = True
        self._let_go()
        lease.discard()

    def after_fork(self) -> None:
        """In a forked child: what was leased is the parent's."""
        lease = self._lease
        self._released = self._adopted = None
        if lease is not None:
            self._block_depth = 0
            self._block_took_lease = False
            self._holds = 0
            self._forget_transaction()
            self._let_go()
            lease.forget()

    def leave_at_exit(self) -> None:
        """At the exit of the process: close what this thread still leases."""
        lease = self._lease
        if lease is not None and self._thread_ident == threading.get_ident():
            is_ours = self._holds & IN_USE or lease.claim.pick_up()
            self._let_go()
            if is_ours and lease.is_held():
                lease.discard()


#: Every wrapper with a pool, for fork and exit. Wrappers are few and live long.
_wrappers: weakref.WeakSet[PooledWrapper] = weakref.WeakSet()
_wrappers_lock = threading.Lock()


def _after_fork() -> None:
    """In a forked child: pools are empty, and wrappers have no connection."""
    global _wrappers_lock  # noqa: PLW0603 - another thread may have held it at the fork
    _wrappers_lock = threading.Lock()
    registry.after_fork()
    for wrapper in list(_wrappers):
        wrapper.after_fork()


def _at_exit() -> None:
    """Say goodbye to the servers, and wait for nobody."""
    registry.shut_down()
    with _wrappers_lock:
        wrappers = list(_wrappers)
    for wrapper in wrappers:
        wrapper.leave_at_exit()


# At import and not in ``AppConfig.ready()``, because they serve without the application too.
checks.register(check_app_installed, "connmgr")
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
