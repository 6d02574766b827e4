"""What a pool may do, how much of it, and for how long."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one pool. Times are in seconds; the docs say what each one is for."""

    max_size: int | None = 5
    min_size: int = 0
    timeout: float = 5.0
    max_connecting: int = 10
    max_waiting: int = 0
    max_idle: float = 300.0
    max_lifetime: float = 3600.0
    keepalive: float = 0.0
    reap_interval: float = 60.0
    check_after: float = 30.0
    reclaim: bool = True
    leak_threshold: float = 0.0
    slow_acquire: float = 0.0
    idle_transaction: float = 0.0
    #: What is not used any more stays warm for its owner ("request"), or not ("transaction").
    release: str = "request"

    def resized(self, max_size: object, min_size: object | None) -> Self:
        """The same with other bounds; ``ValueError`` if these may not stand in the options."""
        try:
            most = size_or_none(max_size)
            least = self.min_size if min_size is None else whole_number(0)(min_size)
        except WrongValueError as expected:
            raise ValueError(f"resize() takes {expected}.") from None
        changed = replace(self, max_size=most, min_size=least)
        for _, message, hint in conflicts(changed):
            raise ValueError(f"{message} {hint}")
        return changed


class WrongValueError(Exception):
    """A value is not what the option takes; says what it does take."""


def whole_number(least: int) -> Callable[[object], int]:
    """Makes a converter of numbers, and of strings that are numbers, from ``least`` on."""

    def convert(value: object) -> int:
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            with suppress(ValueError):
                number = int(value)
                if number >= least:
                    return number
        raise WrongValueError(f"a whole number, {least} or more")

    return convert


def size_or_none(value: object) -> int | None:
    """Convert a ``max_size``: 1 or more, or ``None`` for no limit."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return None
    try:
        return whole_number(1)(value)
    except WrongValueError as wrong:
        raise WrongValueError(f"{wrong}, or None for no limit") from None


def conflicts(limits: Limits) -> Iterator[tuple[set[str], str, str]]:
    """Options that contradict each other: which, how, and what to do about it."""
    least, most = limits.min_size, limits.max_size
    if most is not None and least > most:
        message = f"Pool option 'min_size' ({least}) is larger than 'max_size' ({most})."
        yield {"min_size", "max_size"}, message, "Lower min_size or raise max_size."
    for option in ("min_size", "keepalive", "leak_threshold", "idle_transaction"):
        if getattr(limits, option) and not limits.reap_interval:
            yield (
                {option, "reap_interval"},
                f"Pool option {option!r} needs the background thread, and 'reap_interval' is 0.",
                f"Remove {option!r}, or set reap_interval to a number of seconds above 0.",
            )
