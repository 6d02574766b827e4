"""The example project with django-debug-toolbar, and a page of HTML that queries."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

DEBUG = True
INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.staticfiles", "debug_toolbar"]
MIDDLEWARE = ["debug_toolbar.middleware.DebugToolbarMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "static/"
INTERNAL_IPS = ["127.0.0.1"]
ROOT_URLCONF = __name__
DEBUG_TOOLBAR_PANELS = ["django_connmgr.instrumentation.toolbar.ConnectionsPanel"]


def page(request: HttpRequest) -> HttpResponse:
    from testproject.shop.models import Customer

    return HttpResponse(f"<html><body>{Customer.objects.count()}</body></html>")


urlpatterns = [
    path("", page),
    path("__debug__/", include("debug_toolbar.urls")),
]
