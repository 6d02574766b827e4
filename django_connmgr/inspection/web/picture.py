"""What the page shows of the answers of processes. Whatever is not as it should be is left out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..client import Reply

#: Parts of a bar, in their order: the field of the numbers, and its word.
PARTS = ("leased", "warm", "cold", "connecting", "maintenance")
#: Of drawings, in units of their own.
BAR_WIDTH, LINE_WIDTH, LINE_HEIGHT = 200, 200, 36
#: Events that are worth a line.
_TOLD = {"timeout", "rejected", "reaped", "deadline", "cancelled", "connect_failed"}
_DONE_BY_HAND = {"killed", "recycled", "suspended", "resumed", "resized"}


@dataclass
class Part:
    """A piece of a bar."""

    name: str
    number: int
    x: float
    width: float


@dataclass
class PoolPicture:
    """One pool of one process."""

    name: str
    alias: str
    status: str
    numbers: dict[str, int]
    limit: str
    parts: list[Part]
    longest_wait: float
    closed: list[tuple[str, int]]
    #: Points of two lines over the last minutes, for SVG; empty before there are two samples.
    leased_line: str = ""
    waiting_line: str = ""
    most: int = 0

    @property
    def free(self) -> int | None:
        free = self.numbers.get("free")
        return free if self.limit != "no limit" else None


@dataclass
class ProcessPicture:
    """One process, or why it does not answer."""

    pid: int
    role: str = ""
    started: str = ""
    error: str = ""
    pools: list[PoolPicture] = field(default_factory=list)


@dataclass
class EventPicture:
    pid: int
    at: str
    kind: str
    pool: str
    text: str
    moment: float


def draw_processes(replies: list[Reply]) -> list[ProcessPicture]:
    """Those that answered, and those that did not."""
    return [_draw_process(reply) for reply in replies]


def _draw_process(reply: Reply) -> ProcessPicture:
    if reply.error:
        return ProcessPicture(reply.pid, error=reply.error)
    history = reply.answer.get("history")
    history = history if isinstance(history, dict) else {}
    pools = [_draw_pool(one, history) for one in reply.records("pools")]
    return ProcessPicture(reply.pid, reply.role, as_time(reply.process.get("started")), pools=pools)


def _draw_pool(numbers: dict[str, Any], history: dict[str, Any]) -> PoolPicture:
    counts = {name: as_number(numbers.get(name)) for name in (*PARTS, "size", "waiting", "idle")}
    limit = numbers.get("max_size")
    most = as_number(limit) or max(counts["size"], 1)
    counts["free"] = max(most - counts["size"], 0)
    picture = PoolPicture(
        name=str(numbers.get("name")),
        alias=str(numbers.get("alias")),
        status=str(numbers.get("status")),
        numbers=counts,
        limit="no limit" if limit is None else str(limit),
        parts=list(_parts(counts, most)),
        longest_wait=float(numbers.get("oldest_wait") or 0.0),
        closed=_closed(numbers.get("closed")),
    )
    _draw_lines(picture, history.get(picture.name))
    return picture


def _parts(counts: dict[str, int], most: int) -> Iterator[Part]:
    x = 0.0
    scale = BAR_WIDTH / max(most, counts["size"], 1)
    for name in PARTS:
        if counts[name]:
            width = counts[name] * scale
            yield Part(name, counts[name], round(x, 2), round(width, 2))
            x += width


def _draw_lines(picture: PoolPicture, samples: Any) -> None:
    found = [one for one in samples or () if isinstance(one, list) and len(one) == 3]
    if len(found) < 2:
        return
    picture.most = max(1, *(as_number(number) for one in found for number in one[1:]))
    step = LINE_WIDTH / (len(found) - 1)
    scale = (LINE_HEIGHT - 4) / picture.most

    def line(index: int) -> str:
        return " ".join(
            f"{number * step:.1f},{LINE_HEIGHT - 2 - as_number(one[index]) * scale:.1f}"
            for number, one in enumerate(found)
        )

    picture.leased_line, picture.waiting_line = line(1), line(2)


def _closed(found: Any) -> list[tuple[str, int]]:
    pairs = found.items() if isinstance(found, dict) else ()
    return sorted((str(name), as_number(count)) for name, count in pairs)


def draw_events(replies: list[Reply], most: int = 10) -> list[EventPicture]:
    """What happened of late and is out of the ordinary, newest first."""
    events = [
        _draw_event(reply.pid, one)
        for reply in replies
        for one in reply.records("events")
        if one.get("kind") in _TOLD | _DONE_BY_HAND
    ]
    return sorted(events, key=lambda event: event.moment, reverse=True)[:most]


def _draw_event(pid: int, event: dict[str, Any]) -> EventPicture:
    seconds = float(event.get("seconds") or 0.0)
    told = ("reason",) if event.get("kind") in _DONE_BY_HAND else ("reason", "owner", "unit")
    words = [str(event.get(name)) for name in told if event.get(name)]
    words += [f"{seconds:.1f} s"] if seconds >= 0.05 else []
    moment = event.get("at")
    moment = float(moment) if isinstance(moment, (int, float)) else 0.0
    kind, pool = str(event.get("kind")).replace("_", " "), str(event.get("pool"))
    return EventPicture(pid, as_time(moment), kind, pool, ", ".join(words), moment)


def as_number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def as_time(moment: Any) -> str:
    """The time of day, in the time zone of this process."""
    if not isinstance(moment, (int, float)) or not 0 < moment < 1e11:
        return ""
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%H:%M:%S")
