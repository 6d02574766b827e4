"""``path("ready/", ready)``: a probe for load balancers."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .health import check_pools


@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - a view
    """200 if every pool is warm, 503 otherwise; and of each pool why. It takes no connection."""
    found = check_pools()
    content = {one.pool: {"condition": one.condition, "text": one.text} for one in found}
    return JsonResponse(content, status=200 if all(one.is_ready for one in found) else 503)
