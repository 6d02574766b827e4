"""A table that every PostgreSQL has, so that nothing has to be migrated."""

from __future__ import annotations

from django.db import models


class AccessMethod(models.Model):
    oid = models.IntegerField(primary_key=True)
    amname = models.CharField(max_length=63)

    class Meta:
        managed = False
        db_table = "pg_am"
        app_label = "project"

    def __str__(self) -> str:
        return self.amname
