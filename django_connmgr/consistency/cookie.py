"""A client's next requests read what the last one wrote: a signed cookie says that it did."""

import math
from datetime import timedelta

from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from .memory import memory_here

NAME = "connmgr_written"
_signer = signing.TimestampSigner(salt="django_connmgr.written")


def recall(request: HttpRequest, seconds: float) -> None:
    """What the client wrote in the last so many ``seconds`` counts as written in this unit.

    A cookie that is forged, damaged, or older is as good as none.
    """
    cookie = request.COOKIES.get(NAME)
    if cookie is not None:
        try:
            primaries = _signer.unsign(cookie, max_age=timedelta(seconds=seconds)).split(",")
        except signing.BadSignature:
            return
        memory_here().recalled.update(primaries)


def hand_out(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """Have the client say for so many ``seconds`` what this unit of work wrote, if it did."""
    committed = memory_here().committed
    if committed:
        response.set_cookie(
            NAME,
            _signer.sign(",".join(sorted(committed))),
            max_age=math.ceil(seconds),
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
