"""Why the leases of a unit of work are ended under their owners."""

import time
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Cause:
    #: The word for it in counts and events.
    kind: ClassVar[str]

    #: The name of the unit that it is about.
    unit: str

    def describe(self) -> str:
        """What happened, for errors."""
        raise NotImplementedError

    def _subject(self) -> str:
        return f"Unit of work {self.unit!r}" if self.unit else "A unit of work"


@dataclass(frozen=True)
class Deadline(Cause):
    """When a unit has to be done with its databases."""

    kind: ClassVar[str] = "deadline"

    #: How long it was given, in seconds.
    seconds: float
    #: On the clock of ``time.monotonic()``.
    at: float

    @classmethod
    def of(cls, unit: str, seconds: float) -> "Deadline":
        """The deadline of a unit that begins now."""
        return cls(unit, seconds, time.monotonic() + seconds)

    def time_left(self) -> float:
        """Seconds until it; negative once it has passed."""
        return self.at - time.monotonic()

    def describe(self) -> str:
        return (
            f"{self._subject()} had {self.seconds:g} s for its databases (its deadline), and they "
            "are over"
        )


class Cancellation(Cause):
    """That nothing waits for what a unit does: the client of a request is gone, for example."""

    kind: ClassVar[str] = "cancelled"

    def describe(self) -> str:
        return f"{self._subject()} was cancelled, and nothing waits for its result"
