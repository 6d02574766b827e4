"""How a client brings back, in its next request, the token of what it wrote in this one."""

import logging
import math
from typing import Protocol

from django.conf import settings as project
from django.core.cache import cache
from django.http import HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string

from ..app_settings import app_settings
from .tokens import merge_tokens

logger = logging.getLogger("django_connmgr.replicas")

COOKIE = "connmgr_token"
HEADER = "X-Connmgr-Token"


class Carrier(Protocol):
    """Neither method raises; without a token, a request reads as if its client had not written."""

    #: Whether it may block, and is not to be used on an event loop.
    may_block: bool

    def fetch(self, request: HttpRequest) -> str | None:
        """The token that the client was handed out last; ``None`` if there is none."""

    def hand_out(self, request: HttpRequest, response: HttpResponseBase, token: str) -> None:
        """Have the client bring it in its next requests, for ``TOKEN_TTL`` seconds."""


class CookieCarrier:
    """In a cookie: for browsers."""

    may_block = False

    def fetch(self, request: HttpRequest) -> str | None:
        return request.COOKIES.get(COOKIE)

    def hand_out(self, request: HttpRequest, response: HttpResponseBase, token: str) -> None:
        response.set_cookie(
            COOKIE,
            token,
            max_age=math.ceil(app_settings().TOKEN_TTL),
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )


class HeaderCarrier:
    """In a header of the response, which the client sends along with its next requests."""

    may_block = False

    def fetch(self, request: HttpRequest) -> str | None:
        return request.headers.get(HEADER)

    def hand_out(self, request: HttpRequest, response: HttpResponseBase, token: str) -> None:  # noqa: ARG002
        response.headers[HEADER] = token


class CacheCarrier:
    """In Django's cache, under a key that all devices of a user have in common."""

    may_block = True

    def fetch(self, request: HttpRequest) -> str | None:
        try:
            key = self._key_of(request)
            found = cache.get(key) if key else None
        except Exception:
            logger.warning("The cache does not tell what a client has written.", exc_info=True)
            return None
        return found if isinstance(found, str) else None

    def hand_out(self, request: HttpRequest, response: HttpResponseBase, token: str) -> None:  # noqa: ARG002
        try:
            key = self._key_of(request)
            if key:
                # Another request of the same user may have ended meanwhile.
                both = merge_tokens(cache.get(key), token)
                cache.set(key, both, timeout=app_settings().TOKEN_TTL)
        except Exception:
            logger.warning("The cache does not take what a client has written.", exc_info=True)

    def _key_of(self, request: HttpRequest) -> str:
        find = app_settings().CARRIER_KEY
        key = (import_string(find) if isinstance(find, str) else find)(request)
        return f"connmgr_token:{key}" if key else ""


CARRIERS: dict[str, type[Carrier]] = {
    "cookie": CookieCarrier,
    "cache": CacheCarrier,
    "header": HeaderCarrier,
}


def session_key(request: HttpRequest) -> str | None:
    """The default of ``CARRIER_KEY``: that of the client's session, before it is loaded."""
    # The middleware of sessions is inside of ours: at first there is the cookie only.
    key: str | None = getattr(getattr(request, "session", None), "session_key", None)
    return key or request.COOKIES.get(project.SESSION_COOKIE_NAME)
