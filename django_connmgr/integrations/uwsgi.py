"""uWSGI: a forked worker starts with empty pools, although uWSGI does not tell Python of the fork.

It forks its workers after it has loaded the application, unless ``lazy-apps`` is set. Only with
``py-call-uwsgi-fork-hooks`` does it call what Python does in a child; but it always calls
``uwsgi.post_fork_hook``, before the first request.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import uwsgi

from ..forks import after_silent_fork, expect_silent_forks


class _WithHook(ModuleType):
    """The module, whose hook is ours and then the one that was set last.

    ``uwsgidecorators`` sets one when it is imported, which may be later.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _after_ours(value) if name == "post_fork_hook" else value)


def install() -> None:
    """Have the workers that are forked from this process start with empty pools. Idempotent."""
    if uwsgi.worker_id() or isinstance(uwsgi, _WithHook):
        return  # With ``lazy-apps`` it is a worker itself.
    if uwsgi.masterpid():  # Otherwise it becomes the first worker, which is never forked.
        expect_silent_forks()
    uwsgi.__class__ = _WithHook
    uwsgi.post_fork_hook = getattr(uwsgi, "post_fork_hook", None)


def _after_ours(hook: Callable[[], Any] | None) -> Callable[[], Any]:
    def run() -> Any:
        after_silent_fork()
        return None if hook is None else hook()

    return run
