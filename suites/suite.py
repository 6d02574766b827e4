"""The suites: where each comes from, and how it is run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import django

Address = Mapping[str, str]

#: What of Django's own tests has most to do with connections.
DJANGO_LABELS = (
    "backends",
    "transactions",
    "transaction_hooks",
    "select_for_update",
    "multiple_database",
    "db_utils",
    "servers",
    "handlers",
    "async",
    "test_utils",
    "basic",
    "delete",
    "requests_tests",
)

#: What of Wagtail's tests has most to do with the database.
WAGTAIL_LABELS = (
    "wagtail.search",
    "wagtail.images",
    "wagtail.documents",
    "wagtail.api",
    "wagtail.snippets",
)


@dataclass(frozen=True)
class Suite:
    """A package's tests, of the version that ``requirement`` says."""

    name: str
    requirement: str
    #: Which tests to run, unless others are asked for; none for all of them.
    labels: tuple[str, ...] = ()
    #: What it is run on: names of ``server.SERVERS``.
    servers: tuple[str, ...] = ("postgresql",)
    #: Seconds that a run may take.
    patience: int = 900

    def directory(self, source: Path) -> Path:
        """The current directory of its process."""
        return source

    def command(self, source: Path, labels: tuple[str, ...]) -> list[str]:
        """What runs them in the directory ``source``."""
        raise NotImplementedError

    def environment(self, address: Address) -> dict[str, str]:  # noqa: ARG002
        """What the suite itself looks for in its environment."""
        return {}


class Django(Suite):
    def command(self, source: Path, labels: tuple[str, ...]) -> list[str]:
        script = str(source / "tests" / "runtests.py")
        options = ["--settings=suites.inside.django_settings", "--noinput", "--verbosity=2"]
        # One process: some of its tests count the server's connections.
        return [sys.executable, script, *options, "--parallel=1", *labels]


class RestFramework(Suite):
    def command(self, source: Path, labels: tuple[str, ...]) -> list[str]:  # noqa: ARG002
        options = ["-p", "suites.inside.pytest_results", "--verbose", "--verbose"]
        # Ours, which finds no pytest settings but the suite's.
        return [sys.executable, "-m", "pytest", *options, *labels]

    def environment(self, address: Address) -> dict[str, str]:
        user, password = quote(address["USER"]), quote(address["PASSWORD"])
        where = f"{address['HOST']}:{address['PORT']}/{address['NAME']}"
        return {"DATABASE_URL": f"postgres://{user}:{password}@{where}"}


class CeleryBeat(Suite):
    def command(self, source: Path, labels: tuple[str, ...]) -> list[str]:  # noqa: ARG002
        options = ["-p", "suites.inside.pytest_results", "--ds", "suites.inside.beat_settings"]
        return [sys.executable, "-m", "pytest", *options, "--verbose", "--verbose", *labels]


@dataclass(frozen=True)
class Tested(Suite):
    """By Django's own command, with settings of ours that take in the suite's."""

    settings: str = ""

    def command(self, source: Path, labels: tuple[str, ...]) -> list[str]:  # noqa: ARG002
        return [sys.executable, "-m", "django", "test", "--noinput", "--verbosity=2", *labels]

    def environment(self, address: Address) -> dict[str, str]:  # noqa: ARG002
        return {"DJANGO_SETTINGS_MODULE": f"suites.inside.{self.settings}"}


class DebugToolbar(Tested):
    def environment(self, address: Address) -> dict[str, str]:
        given = {f"DB_{name}": value for name, value in address.items()}
        return {**super().environment(address), **given, "DB_BACKEND": "postgresql"}


class Tenants(Tested):
    def directory(self, source: Path) -> Path:
        return source / "dts_test_project"


class Wagtail(Tested):
    def environment(self, address: Address) -> dict[str, str]:
        given = {f"DATABASE_{name}": value for name, value in address.items()}
        # Its settings give the test database this very name.
        given["DATABASE_NAME"] = f"test_{address['NAME']}"
        return {**super().environment(address), **given}


_DJANGO = f"django=={django.__version__}"
_BOTH = ("sqlite3", "postgresql")

SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Django("django", _DJANGO, servers=_BOTH, patience=7_200),
        Django("django-subset", _DJANGO, DJANGO_LABELS, servers=_BOTH),
        RestFramework("djangorestframework", "djangorestframework==3.18.*", ("tests",)),
        DebugToolbar(
            "django-debug-toolbar",
            "django-debug-toolbar==8.*",
            ("tests",),
            settings="toolbar_settings",
        ),
        Tenants(
            "django-tenants",
            "django-tenants==4.*",
            ("django_tenants",),
            settings="tenants_settings",
        ),
        Wagtail(
            "wagtail", "wagtail==8.*", WAGTAIL_LABELS, settings="wagtail_settings", patience=3_600
        ),
        CeleryBeat("django-celery-beat", "django-celery-beat==2.9.*", ("t/unit",)),
    )
}
