"""The driver's cursors, which tell their borrower when they are done, and what they do.

The driver's, not Django's around them: instrumentation wraps a driver's cursor again and drops
Django's wrapper, or keeps it bare, as ``connection.cursor().execute()`` returns it. It is in use
until it is closed or collected.
"""

from __future__ import annotations

import weakref
from _thread import get_ident
from typing import Any, Protocol, cast

from .sql import known, touches_session


#: The hold of an open cursor.
CURSOR = 1


class Borrower(Protocol):
    """What a cursor tells the borrower of its connection."""

    cursors: dict[weakref.ref[Any], bool]
    thread: int

    def note_session_state(self) -> None: ...

    def note_interruption(self, error: BaseException) -> None: ...

    def end(self, hold: int) -> None: ...


class HoldingCursor:
    """Mixed in before a driver's class of cursors; see ``HOLDING``."""

    #: Of its connection; ``None`` for a cursor that Django did not make.
    borrower: Borrower | None = None
    #: Its entry among the open cursors of the borrower.
    hold: weakref.ref[Any] | None = None

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        borrower = self.borrower
        if borrower is None:
            return super().execute(query, *args, **kwargs)  # type: ignore[misc]
        try:
            if known[query]:
                borrower.note_session_state()
        except (KeyError, TypeError):
            if touches_session(query):
                borrower.note_session_state()
        try:
            return super().execute(query, *args, **kwargs)  # type: ignore[misc]
        except BaseException as error:
            borrower.note_interruption(error)
            raise

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        borrower = self.borrower
        if borrower is not None and touches_session(query):
            borrower.note_session_state()
        try:
            return super().executemany(query, *args, **kwargs)  # type: ignore[misc]
        except BaseException as error:
            if borrower is not None:
                borrower.note_interruption(error)
            raise

    def callproc(self, procname: str, *args: Any, **kwargs: Any) -> Any:
        if self.borrower is not None and touches_session(f"SELECT {procname}("):
            self.borrower.note_session_state()
        return super().callproc(procname, *args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        try:
            super().close()  # type: ignore[misc]
        finally:
            borrower = self.borrower
            if borrower is not None:
                cursors, hold = borrower.cursors, self.hold
                self.hold = None  # Or it would call back when this is collected.
                # The collector closes the cursors of forgotten generators on any thread; the
                # next end of a hold on the borrower's own sees that they are gone.
                if (
                    cursors.pop(hold, False)  # type: ignore[arg-type]
                    and not cursors
                    and borrower.thread == get_ident()
                ):
                    borrower.end(CURSOR)


class _HoldingClasses(dict[type, type[HoldingCursor]]):
    """By class of a driver's cursors: the like that also holds the lease."""

    def __missing__(self, cursor_class: type) -> type[HoldingCursor]:
        if issubclass(cursor_class, HoldingCursor):
            return cursor_class
        name = f"Holding{cursor_class.__name__}"
        made = type(name, (HoldingCursor, cursor_class), {})
        self[cursor_class] = cast("type[HoldingCursor]", made)
        return self[cursor_class]


HOLDING = _HoldingClasses()
