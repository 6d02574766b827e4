"""A client's next requests read what the last one wrote: a signed cookie says that it did."""

import math
import time

from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from .memory import memory_here

NAME = "connmgr_written"
_SALT = "django_connmgr.written"


def recall(request: HttpRequest, seconds: float) -> None:
    """What the client wrote in the last so many ``seconds`` counts as written here.

    A cookie that is forged, damaged, or older is as good as none.
    """
    cookie = request.COOKIES.get(NAME)
    if cookie is not None:
        try:
            written = signing.loads(cookie, salt=_SALT)
        except signing.BadSignature:
            return
        since = time.time() - seconds
        fresh = {primary: when for primary, when in written.items() if when > since}
        memory_here().recalled.update(fresh)


def hand_out(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """Have the client say for so many ``seconds`` what was written here, if anything was."""
    memory = memory_here()
    if memory.committed:
        response.set_cookie(
            NAME,
            signing.dumps({**memory.recalled, **memory.committed}, salt=_SALT),
            max_age=math.ceil(seconds),
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
