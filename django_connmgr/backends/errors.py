"""What comes out of a query: errors of the driver, and exceptions that cut it short."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from django.db.utils import DatabaseErrorWrapper

if TYPE_CHECKING:
    from .base import PooledWrapper


class ErrorWrapper(DatabaseErrorWrapper):
    """Django's translator of driver errors, which also notices what is none."""

    wrapper: PooledWrapper

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            return
        if not issubclass(exc_type, self.wrapper.Database.Error):
            self.wrapper.note_interruption(exc_type)
            return
        super().__exit__(exc_type, exc_value, traceback)
