"""Signals. Receivers' exceptions are logged by Django and change nothing."""

from django.dispatch import Signal

#: A unit of work begins. Arguments: ``unit``, with its ``name``.
unit_started = Signal()

#: A unit of work is over and its connections are released; not sent for a unit that never ended,
#: such as a request that the server cancelled. Arguments: ``unit``, with its ``name`` and
#: ``counts`` (checkouts by alias), and ``released``, how many were still leased.
unit_finished = Signal()

#: A replica is read from again, or not any more. Arguments: ``primary`` and ``alias``, its
#: ``name``, ``before`` and ``after`` (states, as in ``replicas().status()``), and ``reason``. Sent
#: by the thread that found out, which may be the monitor's.
replica_state_changed = Signal()

#: Another server is the primary now, or the same one after a recovery. Arguments: ``primary``, its
#: alias, and ``timeline``, which its log is on since then. Sent by the monitor's thread.
primary_changed = Signal()
