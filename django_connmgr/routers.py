"""``DATABASE_ROUTERS = ["django_connmgr.routers.ReplicaRouter"]``: which role reads."""

import random
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model

from .app_settings import app_settings
from .clusters import find_clusters
from .consistency.memory import has_written, memory_here
from .consistency.modes import get_mode


class ReplicaRouter:
    """Reads from replicas where that is safe, and writes to the primary.

    It decides for a role and does no I/O: which server that is, is decided when a connection is
    leased. A subclass says by ``primary_of()`` which models are in which cluster.
    """

    def __init__(self) -> None:
        self._clusters: dict[str, list[str]] | None = None

    @property
    def clusters(self) -> dict[str, list[str]]:
        """The aliases of replicas, by their primary's."""
        clusters = self._clusters
        if clusters is None:
            clusters = self._clusters = find_clusters()
        return clusters

    def primary_of(self, model: type[Model]) -> str | None:  # noqa: ARG002 - for subclasses
        """The primary of the cluster that a model is in; ``None``: other routers decide."""
        return DEFAULT_DB_ALIAS

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return self.route(model, hints)[0]

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:  # noqa: ARG002
        primary = self.primary_of(model)
        return primary if primary in self.clusters else None

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:  # noqa: ARG002
        """Within a cluster: rows of a replica are the primary's."""
        first, second = (self._cluster_of(obj._state.db) for obj in (obj1, obj2))
        return True if first is not None and first == second else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:  # noqa: ARG002
        """Never on a replica."""
        return False if any(db in aliases for aliases in self.clusters.values()) else None

    def _cluster_of(self, alias: str | None) -> str | None:
        for primary, aliases in self.clusters.items():
            if alias == primary or alias in aliases:
                return primary
        return None

    def route(self, model: type[Model], hints: dict[str, Any]) -> tuple[str | None, str]:
        """Where to read a model from, and the rule that decided: the first that applies."""
        primary = self.primary_of(model)
        aliases = None if primary is None else self.clusters.get(primary)
        if primary is None or not aliases:
            return None, "the model is in no cluster"
        mode = get_mode()
        if mode.role is not None:
            is_primary = mode.role == "primary"
            alias = primary if is_primary else self._replica(primary, aliases)
            return alias, f"using_{mode.role}()"
        reason = _why_bound(model, primary)
        if reason:
            return primary, reason
        reason = _why_fresh(primary, mode.level or app_settings().CONSISTENCY, hints)
        if reason or len(aliases) > 1:  # Or it makes no difference, and is not worth its time.
            for alias in aliases:
                if _has_transaction(alias):
                    return alias, "a transaction is open on the replica"
        if reason:
            return primary, reason
        return self._replica(primary, aliases), "a read that may miss what others just wrote"

    def _replica(self, primary: str, aliases: list[str]) -> str:
        """One alias for the whole unit of work, if a cluster has one for each server."""
        if len(aliases) == 1:
            return aliases[0]
        chosen = memory_here().aliases
        return chosen.get(primary) or chosen.setdefault(primary, random.choice(aliases))  # noqa: S311


def _why_bound(model: type[Model], primary: str) -> str:
    """Why reads of a model belong to the primary here, however old they may be; or ``""``."""
    labels = app_settings().ALWAYS_PRIMARY
    if labels and not {model._meta.label_lower, model._meta.app_label.lower()}.isdisjoint(labels):
        return "ALWAYS_PRIMARY"
    return "a transaction is open on the primary" if _has_transaction(primary) else ""


def _why_fresh(primary: str, level: str, hints: dict[str, Any]) -> str:
    """Why a read must not miss what was written; or ``""``."""
    if level == "primary":
        return "consistency 'primary'"
    instance = hints.get("instance")
    if instance is not None and instance._state.db == primary:
        return "the instance is from the primary"
    if level == "session" and has_written(primary):
        return "this unit of work has written"
    return ""


def _has_transaction(alias: str) -> bool:
    """Whether a transaction of the user's is open here: not a test case's, around the test."""
    wrapper: Any = connections[alias]
    if wrapper.in_atomic_block:
        return not all(block._from_testcase for block in wrapper.atomic_blocks)
    # Where autocommit is off, which no wrapper without a connection knows.
    return wrapper.connection is not None and not wrapper.autocommit


def explain_route(model: type[Model], **hints: Any) -> str:
    """Where the project's ``ReplicaRouter`` reads a model from here, and why."""
    ours = (one for one in router.routers if isinstance(one, ReplicaRouter))
    alias, rule = next(ours, ReplicaRouter()).route(model, hints)
    return f"{alias}: {rule}"
