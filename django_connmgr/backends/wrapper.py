"""Django's hooks of a wrapper that borrows its connections from a pool."""

import atexit
import contextlib
import functools
import logging
import threading
import weakref
from typing import Any, ClassVar
from weakref import ref

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, OperationalError
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.utils.asyncio import async_unsafe

from .._pool.pool import ConnectionPool
from .._pool.position import NOWHERE, Position
from ..app_settings import app_settings
from ..clusters import find_clusters
from ..conf import parse_pool_options
from ..consistency.memory import find_memory, note_commit, note_write
from ..consistency.writes import (
    Kind,
    kind_of,
    note_on,
    note_writes,
    refuse_if_forbidden,
    refuse_write,
)
from ..exceptions import ERRORS
from ..forks import in_child
from ..registry import EXIT_PATIENCE, Address, registry
from . import credentials
from .borrower import LEASED, MOMENT, TRANSACTION, Borrower
from .cursors import HOLDING, HoldingCursor
from .driver import PhysicalDriver
from .monitor import thread as monitor_thread
from .opening import open_apart, open_physical
from .physical import Physical
from .presence import check_app_installed
from .probe import Probe
from .reader import Reader
from .reading import read
from .role import after_fork as forget_probes
from .role import find_role
from .stock import Stock

logger = logging.getLogger("django_connmgr.backends")

#: SQLSTATE read_only_sql_transaction.
READ_ONLY = "25006"

_stock_ensure_connection = BaseDatabaseWrapper.ensure_connection


class PooledWrapper(Stock):
    """Mixed in before a stock ``DatabaseWrapper``, makes it borrow its connections from a pool.

    ``self.connection`` is the real driver connection while the wrapper leases one and
    ``None`` otherwise, which to Django's eyes is a connection not opened yet. So Django's
    own code leases (``ensure_connection()``) and releases (``close()``,
    ``close_if_unusable_or_obsolete()``) without knowing it.
    """

    driver_class: ClassVar[type[PhysicalDriver]]
    #: Names of attributes that opening a connection has been seen to leave on a wrapper.
    left_by_connect: ClassVar[set[str]]
    #: Whether the wrapped engine has a way of its own to ensure connections.
    ensures_in_its_own_way: ClassVar[bool]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.left_by_connect = set()
        cls.ensures_in_its_own_way = _overrides(cls, "ensure_connection")
        # What is built on a pooled class and has a ``_cursor()`` of its own calls this one.
        is_last = cls._cursor is PooledWrapper._cursor
        if is_last and _overrides(cls, "_cursor", "_prepare_cursor", "create_cursor"):
            cls._cursor = PooledWrapper._cursor_of_engine  # type: ignore[method-assign]

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self.borrower = Borrower(self)
        #: What chooses a server for each unit of work, if this reads from a primary's replicas.
        self.reader: Reader | None = None
        if "replica_of" in settings_dict.get("OPTIONS", {}):
            self._become_reader()
        #: Whether it is to be known what is written.
        self.is_primary = alias in find_clusters()
        if self.is_primary:
            self.execute_wrappers.append(note_writes)
        with _wrappers_lock:
            _wrappers.add(self)

    # Replicas

    def _become_reader(self) -> None:
        # What is wrong with the settings is raised where they are used, and told by a check.
        with contextlib.suppress(ImproperlyConfigured):
            role = find_role(self.alias, self.settings_dict, type(self))
            if role is not None:
                self.reader = Reader(role)
                self.execute_wrappers.append(read)
                self.creation.set_as_test_mirror = role.be_mirror  # type: ignore[method-assign,assignment]
                if self.settings_dict["TEST"]["MIRROR"]:
                    self.creation.setup_worker_connection = role.be_mirror  # type: ignore[method-assign,assignment]
                self.settings_dict = role.first_settings

    def note_statement(self, sql: Any) -> None:
        """What goes past ``execute_wrappers``: a statement, the driver's own way."""
        if self.reader is not None:
            refuse_write(sql, self.alias)
        elif self.is_primary and kind_of(sql) is not Kind.READS:
            refuse_if_forbidden(sql, kind_of(sql))
            note_on(self)

    #: Whether servers of this engine can be asked how far their log has come.
    can_probe: ClassVar[bool] = False

    @classmethod
    def restrict_to_reading(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings of connections to replicas: read-only sessions, where the engine has them."""
        return settings

    @classmethod
    def forget_credentials(
        cls,
        settings: dict[str, Any],  # noqa: ARG003 - for engines whose servers know users
        error: BaseException,  # noqa: ARG003
        password: str | None = None,  # noqa: ARG003
    ) -> bool:
        """A connect failed, with this password: whether it may succeed with new credentials."""
        return False

    @classmethod
    def make_probe(cls, settings: dict[str, Any], alias: str) -> Probe:
        """What asks one server, at the address of these settings."""
        raise NotImplementedError

    def log_position(self) -> Position | None:
        """How far the log of this primary has come: one round trip.

        ``None`` if it does not tell, ``NOWHERE`` if it cannot be asked: in a transaction, which the
        question might break, or if no connection is free within ``WAIT`` seconds. Raises nothing:
        what was committed before is committed.
        """
        borrower = self.borrower
        if self.in_atomic_block:
            return NOWHERE
        try:
            if not borrower.begin(MOMENT, app_settings().WAIT):
                return None
            try:
                driver: Any = borrower.pool.driver  # type: ignore[union-attr]
                report = driver.report_of(self.connection)
            finally:
                borrower.end(MOMENT)
        except (Error, self.Database.Error) as error:
            logger.warning("%r does not tell how far its log is: %s", self.alias, error)
            is_lost = isinstance(error, (OperationalError, self.Database.OperationalError))
            return NOWHERE if is_lost else None
        if report is None:
            return None
        return NOWHERE if report.is_standby else report.position

    def choose_anew(self) -> None:
        """If this reads from replicas, what is leased next is of one that is chosen by then."""
        if self.reader is not None:
            self.borrower.choose_anew()

    def _note_hidden_write(self) -> None:
        """Ask the server whether the transaction has written, if no statement showed it."""
        borrower, memory = self.borrower, find_memory()
        is_known = memory is not None and self.alias in memory.written
        if is_known or self.connection is None or borrower.pool is None:
            return
        driver: Any = borrower.pool.driver
        if borrower.has_transaction() and driver.has_written(self.connection):
            note_write(self.alias)

    def note_refusal(self, error: BaseException) -> None:
        """A write failed. If the server takes none any more, its other connections end as well."""
        cause, pool = error.__cause__, self.borrower.pool
        driver: Any = None if pool is None else pool.driver
        sqlstate = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        if sqlstate != READ_ONLY or pool is None or self.connection is None:
            return
        if driver.is_standby(self.connection) is not False:  # Or the session was made so.
            logger.warning("The server of %r takes no writes: it is connected to anew.", self.alias)
            pool.recycle()

    # The pool

    @property
    def connection_pool(self) -> ConnectionPool[Physical] | None:
        """The pool of this process that this wrapper borrows from; ``None`` if it does not."""
        if self.alias == NO_DB_ALIAS or not self.is_poolable():
            return None
        if "replica_of" in self.settings_dict["OPTIONS"]:
            find_role(self.alias, self.settings_dict, type(self))  # Raises.
        settings = self.settings_dict
        options = sorted(item for item in settings["OPTIONS"].items() if item[0] != "pool")
        session = (settings["USER"], repr(options))
        address = Address(self.alias, self._database(), session)
        return registry.get_or_make(address, self._make_pool)

    def _database(self) -> tuple[str, str, str]:
        settings = self.settings_dict
        return (str(settings["NAME"]), settings["HOST"], str(settings["PORT"]))

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
        driver = self.make_driver()
        label = self.settings_dict.get("LABEL")  # Of one of several servers.
        name = f"{self.alias}@{label}" if label else self.alias
        is_observed = app_settings().METRICS
        return ConnectionPool(name, driver, driver.options, errors=ERRORS, is_observed=is_observed)

    def make_driver(self) -> PhysicalDriver:
        """What a pool of connections as these settings say needs; raises for wrong ones."""
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
        problems = [problem for problem in problems if problem.kind != "ignored"]
        if problems or options is None:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS']['pool']: "
                + " ".join(f"{problem.message} {problem.hint}" for problem in problems)
            )
        # Not this wrapper's own method: the pool would keep it, and what it leases, for ever.
        connect = functools.partial(open_apart, type(self), settings, self.alias)
        return self.driver_class(options, connect)

    def close_pool(self) -> None:
        """Close the pools of this alias, as the stock method does; the next use makes new ones.

        And those of other aliases that lead to the same database, such as mirrors in tests:
        Django calls it before it drops a test database.
        """
        registry.close(self.alias, self._database())

    # Opening physical connections

    def open_physical(self, timeout: float) -> Physical:
        """For the pool: open a connection the wrapped engine's way, within ``timeout`` seconds."""
        return open_physical(self, super().connect, timeout)

    def get_connection_params(self) -> dict[str, Any]:
        """The wrapped engine's, without our options, and bounded by the checkout's deadline."""
        settings = self.settings_dict
        options = {key: value for key, value in settings["OPTIONS"].items() if key != "pool"}
        # Only this wrapper sees the copy; the original is shared by all of its alias.
        self.settings_dict = {**settings, "OPTIONS": options}
        try:
            params = super().get_connection_params()
        finally:
            self.settings_dict = settings
        if self.borrower.opening is not None:
            self.adjust_params(params, self.borrower.opening.timeout)
        return params

    def adjust_params(self, params: dict[str, Any], timeout: float) -> None:
        """Make connecting with ``params`` take no longer than ``timeout`` seconds, if it can,
        and make cursors that hold.
        """

    def forget_session(self) -> None:
        """What was known of another connection's session is not true of the one just leased.

        For subclasses that save themselves a ``SET``. It must send nothing.
        """

    # Leasing

    @async_unsafe
    def connect(self) -> None:
        """Lease a connection, or open one past the pool where there is none."""
        if not self.borrower.connect():
            super().connect()

    @async_unsafe
    def ensure_connection(self) -> None:
        """As stock; a caller from outside may use ``self.connection`` until the unit ends."""
        borrower = self.borrower
        if not borrower.is_in_use() and not borrower.keep():
            super().ensure_connection()

    @staticmethod
    def is_guarded() -> bool:
        """Whether something stands in the place of stock ``ensure_connection()``.

        As while a test case of Django's runs, which forbids new threads to connect that way.
        """
        return BaseDatabaseWrapper.ensure_connection is not _stock_ensure_connection

    def ensure_as_engine(self) -> None:
        """Ask an engine that has its own way to ensure connections."""
        super().ensure_connection()

    def _cursor(self, name: str | None = None) -> Any:
        borrower = self.borrower
        if not borrower.lease_for_cursor():
            return self._cursor_past_pool(name)
        try:
            # As stock, which would ensure the connection and look at the thread once more.
            cursor = self.create_cursor(name)
            if name is not None:
                self._make_holding(cursor)
            borrower.cursors[id(cursor)] = ref(cursor, borrower.cursor_collected)
            cursor.borrower = borrower
            if borrower.lease is None:  # The last other one was collected in the middle of this.
                return self._cursor(name)
            return (
                self.make_debug_cursor(cursor) if self.queries_logged else self.make_cursor(cursor)
            )
        except BaseException as error:
            borrower.end(0)
            borrower.raise_as_django(error)
            raise

    def _cursor_of_engine(self, name: str | None = None) -> Any:
        """As ``_cursor()``, of an engine that makes its cursors in a way of its own."""
        borrower = self.borrower
        if not borrower.begin(MOMENT):
            return self._cursor_past_pool(name)
        try:
            wrapped = super()._cursor(name)
            cursor = wrapped.cursor
            self._make_holding(cursor)
            borrower.cursors[id(cursor)] = ref(cursor, borrower.cursor_collected)
            cursor.borrower = borrower
        finally:
            borrower.end(MOMENT)
        return wrapped

    def _make_holding(self, cursor: Any) -> None:
        """Where the engine names a class of cursors itself, and asks no connection for one."""
        if not isinstance(cursor, HoldingCursor):
            try:
                cursor.__class__ = HOLDING[cursor.__class__]
            except TypeError:  # Of another layout: the lease stays for the rest of the unit.
                self.borrower.holds |= LEASED

    def _cursor_past_pool(self, name: str | None) -> Any:
        wrapped = super()._cursor(name)
        if self.borrower.opening is not None and isinstance(wrapped.cursor, HoldingCursor):
            wrapped.cursor.borrower = self.borrower  # To note what it does to the session.
        return wrapped

    def get_autocommit(self) -> bool:
        """As stock, but leases nothing: a fresh connection is as the settings say."""
        borrower = self.borrower
        if borrower.lease is None:
            if self.in_atomic_block or not borrower.has_pool():
                return super().get_autocommit()
            if self.settings_dict["AUTOCOMMIT"]:
                return True
            # ``atomic`` is about to note on the wrapper that it is inside a transaction.
            borrower.begin(MOMENT)
            borrower.end(MOMENT)
        return self.autocommit

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        borrower = self.borrower
        if autocommit and borrower.lease is None and self._begins_with_autocommit():
            return  # At the end of ``atomic``, say, whose connection was lost.
        if not borrower.begin(TRANSACTION):
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
            return
        # Only the engine's own statements: on-commit hooks run in ``set_autocommit(True)``.
        borrower.is_beginning = not autocommit
        try:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
        except BaseException as error:
            borrower.note_interruption(error)
            raise
        finally:
            borrower.is_beginning = False
            # On-commit hooks have run by now, with the connection.
            if self.autocommit and not self.in_atomic_block:
                borrower.end(TRANSACTION)

    def _begins_with_autocommit(self) -> bool:
        """Whether what is leased next does, with nothing to be done for it."""
        is_idle = not (self.in_atomic_block or self.run_on_commit)
        return is_idle and self.settings_dict["AUTOCOMMIT"] and self.borrower.has_pool()

    def _commit(self) -> None:
        if self.is_primary and app_settings().WRITE_DETECTION == "xid":
            self._note_hidden_write()
        try:
            self.borrower.end_transaction(super()._commit)
        finally:
            if self.is_primary:
                note_commit(self.alias)  # If it fails, too: the server may have committed.

    def _rollback(self) -> None:
        self.borrower.end_transaction(super()._rollback)

    def is_usable(self) -> bool:
        borrower = self.borrower
        if borrower.lease is None and borrower.warm is None:
            return bool(super().is_usable())
        borrower.begin(MOMENT)
        try:
            return bool(super().is_usable())
        finally:
            borrower.end(MOMENT)

    # Releasing

    def close(self) -> None:
        """As stock; what is leased next is leased anew, as ``settings_dict`` says by then."""
        super().close()
        borrower = self.borrower
        borrower.forget_settings()
        if borrower.warm is not None:
            borrower.cool()

    def _close(self) -> None:
        borrower = self.borrower
        if borrower.lease is not None:
            borrower.give_back()
        else:
            borrower.cool()
            super()._close()

    def close_if_unusable_or_obsolete(self) -> None:
        """Django's call at both ends of a request: release, without asking the server anything."""
        borrower = self.borrower
        if self.connection is not None:
            if borrower.lease is not None:
                borrower.release()
            else:
                super().close_if_unusable_or_obsolete()
        elif (warm := borrower.warm) is not None:
            # Or a lease whose connection an interruption took from here: the unit's end has it.
            borrower.warm = None
            borrower.pool.cool(warm)  # type: ignore[union-attr]

    # Threads

    def inc_thread_sharing(self) -> None:
        super().inc_thread_sharing()
        self.borrower.share()

    def dec_thread_sharing(self) -> None:
        super().dec_thread_sharing()
        if not self._thread_sharing_count:
            self.borrower.unshare()


def _overrides(cls: type, *names: str) -> bool:
    """Whether a class other than Django's and ours has one of these methods."""
    return any(
        name in vars(base)
        for base in cls.__mro__
        if not base.__module__.startswith(("django.", "django_connmgr."))
        for name in names
    )


#: Every wrapper with a pool, for fork and exit. Wrappers are few and live long.
_wrappers: weakref.WeakSet[PooledWrapper] = weakref.WeakSet()
_wrappers_lock = threading.Lock()


def _after_fork() -> None:
    """In a forked child: pools are empty, and wrappers have no connection."""
    global _wrappers_lock  # noqa: PLW0603 - another thread may have held it at the fork
    _wrappers_lock = threading.Lock()
    registry.after_fork()
    forget_probes()
    credentials.after_fork()
    for wrapper in list(_wrappers):
        wrapper.borrower.after_fork()


def _at_exit() -> None:
    """Say goodbye to the servers, and wait for nothing."""
    registry.shut_down()
    monitor_thread.stop(EXIT_PATIENCE)
    with _wrappers_lock:
        wrappers = list(_wrappers)
    for wrapper in wrappers:
        wrapper.borrower.leave_at_exit()


# At import and not in ``AppConfig.ready()``, because they serve without the application too.
checks.register(check_app_installed, "connmgr")
atexit.register(_at_exit)
in_child(_after_fork)
