"""The driver's cursors, which tell their borrower when they are done, and what they do.

The driver's, not Django's around them: instrumentation wraps a driver's cursor again and drops
Django's wrapper, or keeps it bare, as ``connection.cursor().execute()`` returns it. It is in use
until it is closed or collected.
"""

import weakref
from _thread import get_ident
from typing import Any, cast

from .sql import harmless, touches_session


class _Nobody:
    """Stands for the borrower of a cursor that Django did not make."""

    def __init__(self) -> None:
        self.cursors: dict[int, weakref.ref[Any]] = {}
        self.thread = 0

    def note_session_state(self) -> None: ...

    def note_statement(self, sql: Any) -> None: ...

    def note_interruption(self, error: BaseException) -> None: ...


class HoldingCursor:
    """Mixed in before a driver's class of cursors; see ``HOLDING``."""

    borrower: Any = _Nobody()

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        try:
            if query not in harmless and touches_session(query):
                self.borrower.note_session_state()
        except TypeError:  # Composed, and so neither a string nor hashable.
            if touches_session(query):
                self.borrower.note_session_state()
        try:
            if kwargs:
                return super().execute(query, params, **kwargs)  # type: ignore[misc]
            return super().execute(query, params)  # type: ignore[misc]
        except BaseException as error:
            self.borrower.note_interruption(error)
            raise

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        if touches_session(query):
            self.borrower.note_session_state()
        try:
            return super().executemany(query, *args, **kwargs)  # type: ignore[misc]
        except BaseException as error:
            self.borrower.note_interruption(error)
            raise

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        self.borrower.note_statement(statement)
        return super().copy(statement, *args, **kwargs)  # type: ignore[misc]

    def copy_expert(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
        self.borrower.note_statement(sql)
        return super().copy_expert(sql, *args, **kwargs)  # type: ignore[misc]

    def copy_from(self, *args: Any, **kwargs: Any) -> Any:
        self.borrower.note_statement("COPY t FROM STDIN")
        return super().copy_from(*args, **kwargs)  # type: ignore[misc]

    def callproc(self, procname: str, *args: Any, **kwargs: Any) -> Any:
        self.borrower.note_statement(f"SELECT {procname}(")
        if touches_session(f"SELECT {procname}("):
            self.borrower.note_session_state()
        return super().callproc(procname, *args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        try:
            super().close()  # type: ignore[misc]
        finally:
            borrower = self.borrower
            cursors = borrower.cursors
            try:
                del cursors[id(self)]
            except KeyError:
                pass  # It was closed before, or with its lease.
            else:
                # The collector closes the cursors of forgotten generators on any thread; the
                # next end of a hold on the borrower's own sees that they are gone.
                if not cursors and borrower.thread == get_ident():
                    borrower.rest()


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
