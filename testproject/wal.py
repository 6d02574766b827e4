"""Positions in the write-ahead log, as numbers of bytes."""

from __future__ import annotations

_PAGE = 8192
_PAGE_HEADER = 24
#: The first page of a segment has a longer one.
_SEGMENT_HEADER = 40


def as_text(position: int) -> str:
    """As PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def as_number(lsn: str) -> int:
    """What ``as_text`` wrote."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def end_of_record(position: int, *, segment: int) -> int:
    """The end of the last record before an insert position.

    If the record ends a page or a segment, the insert position lies behind the next header, which
    is written with the next record. Nothing can be replayed up to there until then.
    """
    if position % segment == _SEGMENT_HEADER:
        return position - _SEGMENT_HEADER
    if position % _PAGE == _PAGE_HEADER:
        return position - _PAGE_HEADER
    return position
