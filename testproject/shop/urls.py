from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("orders/", views.orders),
    path("orders/export/", views.export),
    path("orders/<int:pk>/", views.order),
    path("orders/<int:pk>/pay/", views.pay),
    path("orders/<int:pk>/receipt/", views.receipt),
    path("customers/<int:pk>/", views.customer),
    path("report/", views.report),
]
