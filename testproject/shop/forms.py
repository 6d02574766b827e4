from __future__ import annotations

from django import forms

from .models import Customer


class OrderForm(forms.Form):
    customer = forms.ModelChoiceField(Customer.objects.all())
    amount = forms.DecimalField(min_value=0, max_digits=10, decimal_places=2)
