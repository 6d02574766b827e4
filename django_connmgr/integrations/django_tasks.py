"""Tasks of Django: each reads what the code that enqueued it has committed.

A task has no headers, so the token travels in Django's cache, under the id of the task's result.
For ``django.tasks`` of Django 6.0 and later, and for ``django_tasks``, its backport.
"""

import logging
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.core.cache import cache

from ..app_settings import app_settings
from ..consistency import current_token, require_token

logger = logging.getLogger("django_connmgr.integrations")


def install() -> None:
    """Carry tokens from now on. Idempotent."""
    for signals in _find_signals():
        signals.task_enqueued.connect(_send_token, dispatch_uid="django_connmgr")
        signals.task_started.connect(_take_token, dispatch_uid="django_connmgr")


def _find_signals() -> Iterator[Any]:
    for package in ("django.tasks", "django_tasks"):
        try:
            yield import_module(f"{package}.signals")
        except ImportError:
            continue


def _send_token(task_result: Any, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    token = current_token()
    if token is not None:
        try:
            cache.set(_key_of(task_result), token, timeout=app_settings().TOKEN_TTL)
        except Exception:
            logger.warning("The cache does not take the token of a task.", exc_info=True)


def _take_token(task_result: Any, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    try:
        token = cache.get(_key_of(task_result))
    except Exception:
        logger.warning("The cache does not tell the token of a task.", exc_info=True)
    else:
        require_token(token)


def _key_of(task_result: Any) -> str:
    return f"connmgr_token:task:{task_result.id}"
