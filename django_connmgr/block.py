"""Blocks that are context managers and decorators, sync and async."""

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Self, TypeVar, cast

from asgiref.sync import iscoroutinefunction

F = TypeVar("F", bound=Callable[..., Any])


class Block(AbstractContextManager[Any, None], AbstractAsyncContextManager[Any, None]):
    """Begins and ends with ``with`` or ``async with``, or with a function, sync or async."""

    def __call__(self, function: F) -> F:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            # It returns at once, and would run when the block is over.
            name = type(self).__name__
            raise TypeError(
                f"@{name}() does nothing for the generator {function.__qualname__}(); "
                f"use 'with {name}():' inside it."
            )
        block = self._around(function)
        if iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                async with block():
                    return await function(*args, **kwargs)

            return cast(F, run_async)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with block():
                return function(*args, **kwargs)

        return cast(F, run)

    def _around(self, function: Callable[..., Any]) -> Callable[[], Self]:  # noqa: ARG002
        """Makes the block of each call; the same one if it remembers nothing in between."""
        return lambda: self
