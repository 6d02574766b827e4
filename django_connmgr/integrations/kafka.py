"""Kafka: every message, or batch of messages, is one unit of work.

For confluent-kafka, which is not imported here: its ``poll()`` or ``consume()`` is all it takes.
"""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ..units import unit_of_work


@dataclass(eq=False)
class units:  # noqa: N801 - used like a function
    """Messages of ``consumer``, each one a unit of work of the loop's body.

    ``for message in units(consumer): ...`` polls for up to ``timeout`` seconds at a time, with
    nothing leased. With ``size``, it yields lists of up to that many messages, never empty.
    Messages that tell of an error are passed on, as ``poll()`` does. ``until`` is asked before each
    poll, and ends the loop when true. What the body leases is released however the body ends.

    It is no iterator itself, so that only the loop can hold a unit open.
    """

    consumer: Any
    _: KW_ONLY
    size: int | None = None
    timeout: float = 1.0
    until: Callable[[], bool] = bool

    def __iter__(self) -> Iterator[Any]:
        while not self.until():
            if self.size is None:
                received = self.consumer.poll(self.timeout)
            else:
                received = self.consumer.consume(self.size, self.timeout)
            if received is None or received == []:  # A message without a value is false, too.
                continue
            first = received if self.size is None else received[0]
            with unit_of_work(first.topic() or "kafka"):
                yield received
