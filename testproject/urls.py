"""URLs of the example project."""

from __future__ import annotations

from django.urls import include, path

from .status import pool_status

urlpatterns = [
    path("pool/", pool_status),
    path("connmgr/", include("django_connmgr.inspection.web.urls")),
    path("", include("testproject.shop.urls")),
]
