"""Signals. Receivers' exceptions are logged by Django and change nothing."""

from django.dispatch import Signal

#: A unit of work begins. Arguments: ``unit``, with its ``name``.
unit_started = Signal()

#: A unit of work is over and its connections are released; not sent for a unit that never ended,
#: such as a request that the server cancelled. Arguments: ``unit``, with its ``name`` and
#: ``counts`` (checkouts by alias), and ``released``, how many were still leased.
unit_finished = Signal()
