"""How far a server's log has come: what a replica must have replayed to show a write."""

import re
from typing import NamedTuple, Self

#: Of a page of PostgreSQL's log, and of the headers of a page and of the first page of a segment.
_PAGE, _PAGE_HEADER, _SEGMENT_HEADER = 8192, 24, 40
_TEXT = re.compile(r"(\d{1,10})-([0-9A-F]{1,8})/([0-9A-F]{1,8})")


class Position(NamedTuple):
    """A point in the log of one timeline. Each promotion of a replica begins another timeline."""

    timeline: int
    #: In bytes: PostgreSQL's log sequence number.
    lsn: int

    def has_reached(self, other: "Position") -> bool:
        """Whether a server that is here has replayed ``other``.

        On another timeline it has not, however large the number: rows that were written before a
        promotion may have been lost by it.
        """
        return self.timeline == other.timeline and self.lsn >= other.lsn

    def __str__(self) -> str:
        return f"{self.timeline}-{self.lsn >> 32:X}/{self.lsn & 0xFFFFFFFF:X}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """What ``str()`` made; raises ``ValueError`` for anything else."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError("This is no position in a log.")
        timeline, high, low = match.groups()
        return cls(int(timeline), (int(high, 16) << 32) + int(low, 16))


#: On no server's timeline: no replica is ever there.
NOWHERE = Position(0, 0)


def end_of_record(lsn: int, offset: int) -> int:
    """The end of the last record before an insert position, which is ``offset`` in its segment.

    If that record ends a page or a segment, the insert position lies behind the header of the
    next one. The header is written together with the next record, so until then a replica has
    nothing to replay that would take it there.
    """
    if offset == _SEGMENT_HEADER:
        return lsn - _SEGMENT_HEADER
    return lsn - _PAGE_HEADER if offset % _PAGE == _PAGE_HEADER else lsn
