"""A page of HTML that queries, and django-debug-toolbar."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from testproject.shop.models import Customer


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"<html><body>{Customer.objects.count()}</body></html>")


urlpatterns = [
    path("", page),
    path("__debug__/", include("debug_toolbar.urls")),
]
