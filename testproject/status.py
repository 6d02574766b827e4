"""The numbers of this process's pool, for monitoring."""

from __future__ import annotations

from dataclasses import fields

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from django_connmgr import pools


@require_safe
def pool_status(request: HttpRequest) -> JsonResponse:  # noqa: ARG001
    """Needs no connection, so it also answers when the pool is exhausted."""
    pool = pools.get("default")
    if pool is None:
        return JsonResponse({"error": "not-pooled"}, status=404)
    stats = pool.stats()
    values = {field.name: getattr(stats, field.name) for field in fields(stats)}
    return JsonResponse({**values, "closed": dict(stats.closed)})
