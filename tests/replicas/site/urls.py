from __future__ import annotations

from django.contrib import admin
from django.urls import path

from testproject.shop.models import Customer

site = admin.AdminSite()
site.register(Customer)

urlpatterns = [path("admin/", site.urls)]
