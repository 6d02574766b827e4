"""When a unit of work has to be done with its databases."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    #: The name of the unit that it was set for, and how many seconds that was given.
    unit: str
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
        """That it has passed, for errors."""
        unit = f"Unit of work {self.unit!r}" if self.unit else "A unit of work"
        return f"{unit} had {self.seconds:g} s for its databases (deadline), and they are over"
