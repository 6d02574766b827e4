"""Cursors that tell their wrapper when they are done, and what they are about to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .session import known, touches_session

if TYPE_CHECKING:
    from .base import PooledWrapper


class HoldingCursor:
    """Mixed in before Django's cursor wrappers, of whichever class the engine makes.

    An open cursor is a hold: its wrapper's connection stays until the cursor is closed,
    or collected.
    """

    db: PooledWrapper
    cursor: Any
    _is_open = True

    def execute(self, sql: Any, params: Any = None) -> Any:
        try:
            is_touching = known[sql]
        except (KeyError, TypeError):
            is_touching = touches_session(sql)
        if is_touching:
            self.db.note_session_state()
        return super().execute(sql, params)  # type: ignore[misc]

    def executemany(self, sql: Any, param_list: Any) -> Any:
        if touches_session(sql):
            self.db.note_session_state()
        return super().executemany(sql, param_list)  # type: ignore[misc]

    def callproc(self, procname: str, *args: Any, **kwargs: Any) -> Any:
        if touches_session(f"SELECT {procname}("):
            self.db.note_session_state()
        return super().callproc(procname, *args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        try:
            self.cursor.close()
        finally:
            self.db.cursor_closed(self.cursor)
            self._is_open = False

    def __del__(self) -> None:
        if self._is_open:
            self.db.cursor_collected(self.cursor)


class _HoldingClasses(dict[type, type]):
    """By class of cursor wrapper: the like that also holds the lease."""

    def __missing__(self, wrapper_class: type) -> type:
        name = f"Holding{wrapper_class.__name__}"
        made = self[wrapper_class] = type(name, (HoldingCursor, wrapper_class), {})
        return made


HOLDING = _HoldingClasses()
