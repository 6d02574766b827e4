"""The guide to inspection names what there is, and its examples run."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import RequestFactory

from django_connmgr import pools
from django_connmgr.app_settings import AppSettings
from django_connmgr.inspection.web import views
from django_connmgr.management.commands.connmgr import SUBCOMMANDS
from django_connmgr.registry import registry

from .conftest import Pool, PoolOf
from .test_readme import run

ROOT = Path(__file__).resolve().parents[2]


def guide() -> str:
    return (ROOT / "docs" / "inspection.md").read_text()


def test_every_subcommand_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| [^|]+ \|$", guide(), re.MULTILINE)
    named = {words.split()[0] for row in rows for words in re.findall(r"`([^`]+)`", row)}
    assert set(SUBCOMMANDS) <= named


def test_every_setting_is_explained_somewhere() -> None:
    explained = guide() + (ROOT / "docs" / "replicas.md").read_text()
    for field in dataclasses.fields(AppSettings):
        assert f"`{field.name}`" in explained, field.name


def test_every_metric_is_in_the_table() -> None:
    pytest.importorskip("prometheus_client")
    from django_connmgr.instrumentation import prometheus

    names = {
        "connections", "closed_total", "unit_uses_total", "unit_use_seconds_total",
        *prometheus.GAUGES, *prometheus.HISTOGRAMS,
        *(f"{name}_total" for name in prometheus.COUNTERS),
    }  # fmt: skip
    told = re.findall(r"^\| `django_connmgr_(\w+)` \|", guide(), re.MULTILINE)
    assert sorted(told) == sorted(names)


def test_the_doctor_s_output_is_what_it_prints(pool_of: PoolOf) -> None:
    pool_of(max_size=2)
    out = io.StringIO()
    call_command("connmgr", "doctor", "--alias", "default", stdout=out)
    (block,) = re.findall(r"connmgr doctor\n(.*?)```", guide(), re.DOTALL)
    assert re.sub(r"\d+ ms", "", block) == re.sub(r"\d+ ms", "", out.getvalue())


def test_the_budget_s_output_is_what_it_prints(pool_of: PoolOf) -> None:
    pool_of(max_size=2)
    out = io.StringIO()
    arguments = ("--process", "web=2x6", "--process", "jobs=1x10", "--alias", "default")
    with pytest.raises(SystemExit):
        call_command("connmgr", "budget", *arguments, stdout=out)
    (block,) = re.findall(r"connmgr budget --process.*?\n(.*?)```", guide(), re.DOTALL)
    assert re.sub(r":\d{4,5}", "", block) == re.sub(r":\d{4,5}", "", out.getvalue())


def test_the_page_is_included_as_shown() -> None:
    (pattern,) = run("inspection", "inspection.web.urls")["urlpatterns"]
    assert pattern.namespace == "connmgr"
    assert [one.name for one in pattern.url_patterns] == ["page", "confirm", "asset"]
    assert pattern.url_patterns[0].callback is views.page


def test_metrics_are_registered_as_shown() -> None:
    prometheus_client = pytest.importorskip("prometheus_client")
    pytest.importorskip("opentelemetry.metrics")
    run("inspection", "prometheus.register()")
    text = prometheus_client.generate_latest().decode()
    assert "django_connmgr_connections" in text
    from django_connmgr.instrumentation import opentelemetry, prometheus

    for collector in list(prometheus_client.REGISTRY._collector_to_names):
        if isinstance(collector, prometheus.PoolCollector):
            prometheus_client.REGISTRY.unregister(collector)
    run("inspection", "opentelemetry.instrument()")
    opentelemetry.uninstrument()


def test_a_worker_of_gunicorn_is_warmed_and_drained_as_shown(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(max_size=3, min_size=2)
    monkeypatch.setattr(type(pools), "__iter__", lambda _: iter(["default"]))
    monkeypatch.setattr(registry, "all", lambda: [pool])
    hooks: dict[str, Any] = run("inspection", "post_worker_init")
    hooks["post_worker_init"](None)
    assert pool.stats().size == 2
    hooks["worker_exit"](None, None)
    assert (pool.stats().size, pool.stats().status) == (0, "closed")


def test_the_probe_answers_as_shown(pool: Pool) -> None:
    (pattern,) = run("inspection", "health_view")["urlpatterns"]
    answer = pattern.callback(RequestFactory().get("/ready/"))
    assert answer.status_code == 200
