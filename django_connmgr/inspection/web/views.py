"""The page, its confirmation, and what it looks like."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.middleware.csrf import get_token
from django.template import Context, Engine
from django.urls import reverse
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods, require_safe

from ...clusters import find_clusters
from ...project import project_name
from ...replicas import Replicas
from ..client import Reply, ask
from .access import guarded, may_see, may_steer
from .picture import BAR_WIDTH, LINE_HEIGHT, LINE_WIDTH, draw_events, draw_processes

_HERE = Path(__file__).parent
_TYPES = {"page.css": "text/css", "page.js": "text/javascript"}
#: What may be done from the page, and what it does.
DEEDS = {
    "recycle": "Every connection is replaced: idle ones now, others when they come back.",
    "drain": "As recycle, and it waits up to 5 seconds until the old ones are closed.",
    "suspend": "No connection is handed out until it is resumed; requests wait, and time out.",
    "resume": "Connections are handed out again.",
}
DRAIN_SECONDS = 5.0
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: For how long a browser may keep what has its fingerprint in its address, in seconds.
_FOREVER = 365 * 24 * 3600


@require_safe
@guarded(may_see)
def page(request: HttpRequest) -> HttpResponse:
    """All processes of this project on this host; with ``?part`` only what changes."""
    replies = ask("overview")
    context = {
        "project": project_name(),
        "processes": draw_processes(replies),
        "leases": _rows(replies, "leases"),
        "waiters": _rows(replies, "waiters"),
        "events": draw_events(replies),
        "replicas": [one for primary in find_clusters() for one in Replicas(primary).status()],
        "may_steer": may_steer(request),
        "deeds": DEEDS,
        "bar_width": BAR_WIDTH, "line_width": LINE_WIDTH, "line_height": LINE_HEIGHT,
        "here": reverse("connmgr:page"),
        "confirm": reverse("connmgr:confirm"),
    }  # fmt: skip
    return _render("part.html" if "part" in request.GET else "page.html", context)


@csrf_protect
@require_http_methods(["GET", "POST"])
@guarded(may_steer)
def confirm(request: HttpRequest) -> HttpResponseBase:
    """Ask before a deed is done, by GET; do it, by POST."""
    given = request.POST if request.method == "POST" else request.GET
    deed, alias, pid = given.get("deed", ""), given.get("alias", ""), given.get("pid", "")
    if deed not in DEEDS or (pid and not pid.isdecimal()):
        raise Http404("There is no such deed.")
    if request.method == "POST":
        arguments: dict[str, Any] = {"alias": alias or None, "timeout": DRAIN_SECONDS}
        pids = {int(pid)} if pid else None
        replies = ask(deed, arguments, pids=pids, timeout=DRAIN_SECONDS + 5)
        failed = [reply for reply in replies if reply.error or reply.answer.get("failed")]
        if not failed and replies:
            return HttpResponseRedirect(reverse("connmgr:page"))
        context = {"failed": failed, "deed": deed, "here": reverse("connmgr:page")}
        return _render("failed.html", context, status=502)
    context = {
        "deed": deed, "about": DEEDS[deed], "alias": alias, "pid": pid,
        "token": get_token(request), "here": reverse("connmgr:page"),
    }  # fmt: skip
    return _render("confirm.html", context)


@require_safe
def asset(request: HttpRequest, name: str) -> HttpResponse:  # noqa: ARG001
    """The style sheet and the script: nothing in them is a secret."""
    if name not in _TYPES:
        raise Http404("There is no such file.")
    response = HttpResponse(_asset(name)[0], content_type=f"{_TYPES[name]}; charset=utf-8")
    response["Cache-Control"] = f"public, max-age={_FOREVER}, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _rows(replies: list[Reply], kind: str) -> list[dict[str, Any]]:
    return [{"pid": reply.pid, **one} for reply in replies for one in reply.records(kind)]


@cache
def _asset(name: str) -> tuple[bytes, str]:
    """A file, and a fingerprint of it for its address."""
    content = (_HERE / "static" / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


@cache
def _engine() -> Engine:
    # Of its own: projects need not look for templates in applications.
    return Engine(dirs=[str(_HERE / "templates")], autoescape=True)


def _render(template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    assets = {
        name.replace(".", "_"): f"{reverse('connmgr:asset', args=[name])}?{_asset(name)[1]}"
        for name in _TYPES
    }
    text = _engine().get_template(f"connmgr/{template}").render(Context({**context, **assets}))
    response = HttpResponse(text, status=status)
    response["Content-Security-Policy"] = _POLICY
    response["Cache-Control"] = "no-store"
    return response
