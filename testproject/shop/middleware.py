from __future__ import annotations

import logging

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin

from .failures import failure_of

logger = logging.getLogger("testproject.shop")


class DatabaseErrorMiddleware(MiddlewareMixin):
    """Answers 503 when the database cannot be used. Every other error is a bug, and a 500.

    The pool's own errors are ``OperationalError`` too, and so are answered the same way.
    """

    def process_exception(self, request: HttpRequest, exception: Exception) -> JsonResponse | None:
        if not isinstance(exception, (OperationalError, InterfaceError)):
            return None
        failure = failure_of(exception)
        logger.warning("%s %s: %s: %s", request.method, request.path, failure, exception)
        return JsonResponse({"error": failure}, status=503)
