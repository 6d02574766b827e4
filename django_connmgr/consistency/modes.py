"""Where to read from, said by hand: for a block, or for a function."""

from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from ..app_settings import LEVELS
from ..block import Block


@dataclass(frozen=True)
class Mode:
    """What blocks around the calling code have said, the innermost last."""

    #: ``"primary"`` or ``"replica"``, or ``None``: the router decides.
    role: str | None = None
    #: One of ``LEVELS``, or ``None`` for the project's.
    level: str | None = None
    #: The most that a replica may be behind, in seconds; ``None``: as the project's settings say.
    max_lag: float | None = None
    #: Whether it is an error if no replica can be read from.
    is_strict: bool = False
    #: Whose block forbids writes; empty if none does.
    forbidden_by: str = ""
    #: What held before the innermost block.
    outer: "Mode | None" = None


_mode: ContextVar[Mode] = ContextVar("django_connmgr_mode", default=Mode())  # noqa: B039 - frozen
#: The mode of the calling code. Threads and tasks that get a copy of the context have it too.
get_mode = _mode.get


class _ModeBlock(Block):
    """Changes the mode for a block or a function. Nests, and may be entered again inside.

    It remembers nothing itself, so that tasks and threads may share one.
    """

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def __enter__(self) -> None:
        outer = _mode.get()
        _mode.set(replace(outer, **self._changes, outer=outer))

    def __exit__(self, *exc_info: object) -> None:
        _mode.set(_mode.get().outer or Mode())

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()


def using_primary() -> _ModeBlock:
    """Read from the primary in a block or a function, sync or async."""
    return _ModeBlock(role="primary", max_lag=None, is_strict=False)


def using_replica(*, max_lag: float | None = None, strict: bool = False) -> _ModeBlock:
    """Read from a replica in a block or a function, whatever was written before.

    Of those that are at most ``max_lag`` seconds behind, if that is given, as far as is known.
    If there is none, the primary reads; or ``NoReplica`` is raised, if that is to be ``strict``.

    Writes inside raise ``ReplicaWriteError``, before anything is sent. Inside a transaction on
    the primary it reads from a replica too, which does not see that transaction.
    """
    return _ModeBlock(
        role="replica", max_lag=max_lag, is_strict=strict, forbidden_by="using_replica()"
    )


def read_only() -> _ModeBlock:
    """Refuse writes in a block or a function, on the primary too: ``ReplicaWriteError``."""
    return _ModeBlock(forbidden_by="read_only()")


def consistency(level: str) -> _ModeBlock:
    """What reads may miss in a block or a function, instead of ``CONNMGR["CONSISTENCY"]``.

    ``"session"``: nothing that this unit of work wrote. ``"eventual"``: that too.
    ``"primary"``: nothing at all. Raises ``ValueError`` for another word.
    """
    if level not in LEVELS:
        raise ValueError(f"consistency() takes {' or '.join(map(repr, LEVELS))}, not {level!r}.")
    return _ModeBlock(level=level)
