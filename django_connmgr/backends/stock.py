"""The wrapper of Django's that ours are mixed in before, as type checkers should see it."""

from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:

    class Stock(BaseDatabaseWrapper):
        """With what django-stubs leaves out."""

        Database: Any
        _thread_ident: int
        _thread_sharing_count: int

        def create_cursor(self, name: str | None = None) -> Any: ...
        def _cursor(self, name: str | None = None) -> Any: ...
        def _close(self) -> None: ...
        def _commit(self) -> None: ...
        def _rollback(self) -> None: ...
        def _prepare_cursor(self, cursor: Any) -> Any: ...

else:
    Stock = object
