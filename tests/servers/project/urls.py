"""A view has its name for a path."""

from __future__ import annotations

from django.urls import path

from . import views

NAMES = [
    "stats",
    "query",
    "aquery",
    "atomic",
    "fail",
    "work",
    "work_released",
    "sleep_in_transaction",
    "awork",
    "busy",
    "missing",
    "threads",
    "stream",
    "astream",
    "sse",
    "silent_stream",
    "leases_between_steps",
    "file",
    "large_file",
    "killed",
    "forgotten",
    "owners",
    "session",
]
urlpatterns = [path(f"{name}/", getattr(views, name)) for name in NAMES]
handler404 = "tests.servers.project.views.not_found"
