"""Who may see the page, and who may steer from it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string

from ...api import release_connections
from ...app_settings import app_settings

View = Callable[..., HttpResponseBase]


def may_see(request: HttpRequest) -> bool:
    """By ``CONNMGR["PAGE_ACCESS"]``; staff, without it."""
    return _is_allowed(request, app_settings().PAGE_ACCESS, "is_staff")


def may_steer(request: HttpRequest) -> bool:
    """By ``CONNMGR["PAGE_STEERING"]``; superusers, without it."""
    return _is_allowed(request, app_settings().PAGE_STEERING, "is_superuser")


def guarded(allows: Callable[[HttpRequest], bool]) -> Callable[[View], View]:
    """A view for those whom ``allows`` allows; it holds no connection afterwards.

    Others are asked to log in, or are forbidden if they have.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def look_first(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            is_allowed, is_known = allows(request), _is_logged_in(request)
            # The session and the user may have been asked for: the page works without a connection.
            release_connections()
            if is_allowed:
                return view(request, *args, **kwargs)
            if is_known or not apps.is_installed("django.contrib.auth"):
                raise PermissionDenied
            # Later: its models need the application.
            from django.contrib.auth.views import redirect_to_login

            return redirect_to_login(request.get_full_path())

        return look_first

    return decorate


def _is_logged_in(request: HttpRequest) -> bool:
    user: Any = getattr(request, "user", None)
    return user is not None and bool(user.is_authenticated)


def _is_allowed(request: HttpRequest, given: Any, attribute: str) -> bool:
    if given is not None:
        function = import_string(given) if isinstance(given, str) else given
        return bool(function(request))
    user: Any = getattr(request, "user", None)
    if user is None:
        raise ImproperlyConfigured(
            "The page of connections is for staff, and there are no users here: add "
            "AuthenticationMiddleware to MIDDLEWARE, or set CONNMGR['PAGE_ACCESS'] and "
            "CONNMGR['PAGE_STEERING'] to functions of a request."
        )
    return bool(user.is_active and getattr(user, attribute))
