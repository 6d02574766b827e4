"""``path("connmgr/", include("django_connmgr.inspection.web.urls"))``."""

from django.urls import path

from . import views

app_name = "connmgr"
urlpatterns = [
    path("", views.page, name="page"),
    path("do/", views.confirm, name="confirm"),
    path("static/<str:name>", views.asset, name="asset"),
]
