"""How a wrapper comes by a lease, the second time with less effort than the first."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import DEFAULT_DB_ALIAS

from .._current import find_unit
from .._pool.slot import Lease
from .._pool.unit import Unit
from .opening import OpeningWrapper
from .physical import Physical


class LeasingWrapper(OpeningWrapper):
    """The part of a wrapper that remembers what it leased last, to have it again."""

    #: Whether the wrapped engine has an ``ensure_connection()`` of its own.
    _ensures_in_its_own_way: ClassVar[bool]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ways = [base for base in cls.__mro__ if "ensure_connection" in vars(base)]
        cls._ensures_in_its_own_way = len(ways) > 2  # Django's and ours.

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self._lease: Lease[Physical] | None = None
        self._physical: Physical | None = None
        #: The connection whose state this wrapper has, and how many wrappers had had that by
        #: then. If it is still as many, nothing needs to be done when it is leased again.
        self._adopted: Physical | None = None
        self._adoption = 0
        #: The lease that was given back last, if all is as it was since: it may be had again
        #: while the unit of work is the one with this number (0 if none), and another without
        #: all that ``connect()`` does.
        self._released: Lease[Physical] | None = None
        self._unit_number = 0
        self._take_key = (alias, 0)
        #: Seconds that a checkout of the current block may take; None for the pool's timeout.
        self._checkout_timeout: float | None = None
        #: Whether giving back and leasing again is nobody's business but ours.
        self._may_return = False
        #: Whether to release as soon as no hold is left, and whether that is the pool's
        #: option (``release="transaction"``) or because of what the unit of work is.
        self._is_eager = False
        self._gives_back_eagerly = False

    def _retake(self, lease: Lease[Physical]) -> bool:  # noqa: C901 - a call more would cost more
        """Lease the connection that was given back last again, unless another has it by now."""
        self._released = None
        unit = find_unit()
        number = 0 if unit is None else unit.number
        is_same_unit = number == self._unit_number
        if unit is None:
            if not is_same_unit:
                return False
        elif unit.is_over or unit.is_eager:
            return False
        pool = lease.pool
        if not is_same_unit and self.connection_pool is not pool:
            return False
        try:
            physical = pool.lease_again(lease, self._checkout_timeout, self._connect_here)
        except self.Database.Error:
            with self.wrap_database_errors:
                raise
        if physical is None:
            return False
        self._lease = lease
        if unit is not None:
            if is_same_unit:
                unit.takes[self._take_key] += 1
            else:
                if lease.is_known:
                    lease.renew()
                self._join(unit, lease)
        if physical is self._adopted and physical.adoptions == self._adoption:
            self.errors_occurred = False
            self._physical = physical
            self.connection = physical.raw
        else:
            self._adopt(physical)
        return True

    def _join(self, unit: Unit, lease: Lease[Physical]) -> None:
        """Have the lease released with the unit of work that takes it."""
        self._unit_number = unit.number
        self._take_key = unit.add(lease)
        # Looked at after it was added: see ``Unit.end``. Nobody will end it again, so
        # whatever outlives the unit gives back at each opportunity.
        self._is_eager = self._gives_back_eagerly or unit.is_eager or unit.is_over

    def _lease_anew(self) -> None:
        # What ``ensure_connection()`` sees to is as it was if a connection was given back.
        if self._adopted is None or not self._lease_again():
            super().ensure_connection()

    def _lease_again(self) -> bool:
        """Lease a connection; false if there is no pool any more. Errors are Django's."""
        raise NotImplementedError

    def _adopt(self, physical: Physical) -> None:
        """Become what stock ``connect()`` leaves behind, on a connection that exists already."""
        raise NotImplementedError

    def forget_session(self) -> None:
        """Another connection, or another's meanwhile: what was known of its session is not true.

        For subclasses that save themselves a ``SET``. It must not use the connection.
        """
