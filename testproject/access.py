"""Access to the page of connections, in a project without users."""

from __future__ import annotations

import ipaddress

from django.http import HttpRequest


def is_local(request: HttpRequest) -> bool:
    """Whether the client is on this machine. Behind a proxy, every client seems to be."""
    return ipaddress.ip_address(request.META["REMOTE_ADDR"]).is_loopback
