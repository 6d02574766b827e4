"""What this process answers. Looking changes nothing; deeds are done to all pools, or to one's."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from .._pool.stats import LeaseRecord, WaiterRecord
from ..registry import Pool, registry
from .numbers import alias_of, numbers_of
from .process import describe_process
from .recent import recent
from .wire import MOST_RECORDS, NotUnderstood, encode_answer, encode_error

logger = logging.getLogger("django_connmgr.inspection")

#: As many of the innermost lines of a stack are sent.
MOST_LINES = 40

Arguments = dict[str, Any]


def answer(command: str, arguments: Arguments) -> dict[str, Any]:
    """The answer to one command, with what this process is; raises ``NotUnderstood``."""
    made: dict[str, Any] = _find(command)(arguments)
    return {"process": describe_process(), **made}


def find_answer(command: str, arguments: Arguments) -> tuple[Callable[[], bytes], bool]:
    """What makes the answer to send, and whether it may wait for a server."""
    _find(command)
    return partial(_encode, command, arguments), command in _DEEDS


def _encode(command: str, arguments: Arguments) -> bytes:
    try:
        return encode_answer(answer(command, arguments))
    except (NotUnderstood, ValueError) as error:
        return encode_error(str(error))
    except Exception as error:
        logger.exception("The command %r failed.", command)
        return encode_error(f"It failed: {type(error).__name__}. The log of the process says more.")


def _find(command: str) -> Callable[[Arguments], dict[str, Any]]:
    found = _LOOKS.get(command) or _DEEDS.get(command)
    if found is None:
        known = ", ".join([*_LOOKS, *_DEEDS])
        raise NotUnderstood(f"There is no command {command!r}; there are: {known}.")
    return found


def _pools(arguments: Arguments) -> list[Pool]:
    """Those of one alias, or named so, if the arguments have one; all otherwise."""
    wanted = arguments.get("alias")
    return [pool for pool in registry.all() if wanted in (None, alias_of(pool), pool.name)]


def _status(arguments: Arguments) -> dict[str, Any]:
    return {"pools": [numbers_of(pool) for pool in _pools(arguments)], **recent.as_json()}


def _overview(arguments: Arguments) -> dict[str, Any]:
    """All three at one moment, nearly."""
    return {**_status(arguments), **_leases(arguments), **_waiters(arguments)}


def _metrics(arguments: Arguments) -> dict[str, Any]:
    return {"pools": [numbers_of(pool, with_timings=True) for pool in _pools(arguments)]}


def _leases(arguments: Arguments) -> dict[str, Any]:
    stacks = bool(arguments.get("stacks"))
    found = [
        {"pool": pool.name, "alias": alias_of(pool), **_shortened(record)}
        for pool in _pools(arguments)
        for record in pool.leases(stacks=stacks)
    ]
    return {"leases": found[:MOST_RECORDS], "cut": len(found) > MOST_RECORDS}


def _shortened(record: LeaseRecord | WaiterRecord) -> dict[str, Any]:
    values = asdict(record)
    for name in values.keys() & {"stack", "leased_at"}:
        values[name] = "\n".join(values[name].splitlines()[-MOST_LINES:])
    return values


def _waiters(arguments: Arguments) -> dict[str, Any]:
    stacks = bool(arguments.get("stacks"))
    found = [
        {"pool": pool.name, "alias": alias_of(pool), **_shortened(record)}
        for pool in _pools(arguments)
        for record in pool.waiters(most=MOST_RECORDS + 1, stacks=stacks)
    ]
    return {"waiters": found[:MOST_RECORDS], "cut": len(found) > MOST_RECORDS}


def _to_each(deed: Callable[[Pool, Arguments], object]) -> Callable[[Arguments], dict[str, Any]]:
    def do(arguments: Arguments) -> dict[str, Any]:
        done: list[str] = []
        failed: list[str] = []
        for pool in _pools(arguments):
            (failed if deed(pool, arguments) is False else done).append(pool.name)
        return {"done": done, "failed": failed}

    return do


def _drain(pool: Pool, arguments: Arguments) -> bool:
    timeout = arguments.get("timeout", 30.0)
    if not isinstance(timeout, (int, float)) or not 0 <= timeout <= 3600:
        raise NotUnderstood("'timeout' is a number of seconds, 0 to 3600.")
    return pool.drain(timeout)


def _resize(pool: Pool, arguments: Arguments) -> None:
    if "max_size" not in arguments:
        raise NotUnderstood("'max_size' is missing.")
    pool.resize(arguments["max_size"], min_size=arguments.get("min_size"))


def _kill_lease(arguments: Arguments) -> dict[str, Any]:
    name, slot, since = (arguments.get(key) for key in ("pool", "slot", "since"))
    if not isinstance(slot, int) or not isinstance(since, float):
        raise NotUnderstood("'slot' and 'since' are those of one lease.")
    done = [pool.name for pool in registry.all() if pool.name == name and pool.kill(slot, since)]
    return {"done": done, "failed": [] if done else [name]}


_LOOKS: dict[str, Callable[[Arguments], dict[str, Any]]] = {
    "status": _status,
    "leases": _leases,
    "waiters": _waiters,
    "overview": _overview,
    "metrics": _metrics,
}
_DEEDS: dict[str, Callable[[Arguments], dict[str, Any]]] = {
    "recycle": _to_each(lambda pool, _: pool.recycle()),
    "suspend": _to_each(lambda pool, _: pool.suspend()),
    "resume": _to_each(lambda pool, _: pool.resume()),
    "drain": _to_each(_drain),
    "resize": _to_each(_resize),
    "kill-lease": _kill_lease,
}
#: What there is to ask for, and to have done.
LOOKS, DEEDS = tuple(_LOOKS), tuple(_DEEDS)
