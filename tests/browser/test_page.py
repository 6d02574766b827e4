"""The page of connections in a real browser, on a real server."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from testproject.cluster import Cluster
from tests.django.server import Server, await_that
from tests.servers.launch import eventually

ROOT = Path(__file__).resolve().parents[2]
sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        reason = "No Chromium found. Run 'apt-get install chromium'."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield made
        made.close()


class Site:
    """The example project, served by one process with eight threads."""

    def __init__(self, cluster: Cluster, place: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "testproject.settings",
            "DATABASE_URL": cluster.url,
            "DATABASE_POOL": "max_size=4,timeout=20",
            "XDG_RUNTIME_DIR": place,
            "PYTHONDEVMODE": "",
        }
        migrate = [sys.executable, "manage.py", "migrate", "-v0"]
        subprocess.run(migrate, cwd=ROOT, env=environment, check=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "testproject.wsgi", "--threads", "8",
             "--bind", f"127.0.0.1:{self.port}", "--no-control-socket"],
            cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert eventually(self._is_up)

    def _is_up(self) -> bool:
        try:
            return self.get("/pool/") == 200
        except OSError:
            return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> int:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        client.request("GET", path, headers={"Connection": "close"})
        response = client.getresponse()
        response.read()
        client.close()
        return response.status

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Site]:
    pytest.importorskip("gunicorn")
    with tempfile.TemporaryDirectory(prefix="cm-") as place:
        made = Site(cluster, place)
        try:
            assert made.get("/connmgr/") == 200
            yield made
        finally:
            made.stop()


@pytest.fixture
def server(cluster: Cluster) -> Iterator[Server]:
    with Server(cluster, "connmgr") as observer:
        yield observer


Open = Callable[..., Any]
Sleepers = Callable[[], "Sleeper"]


@pytest.fixture
def opened(browser: Any, site: Site) -> Iterator[Open]:
    """Opens the page in a context of its own; at the end no error may have been in any console."""
    contexts: list[Any] = []
    said: list[str] = []

    def open_page(**options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{site.url}/connmgr/")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


class Sleeper:
    """A request that holds a connection while another session has the table locked."""

    def __init__(self, site: Site, url: str) -> None:
        self._locker = psycopg.connect(url)
        self._locker.execute("LOCK TABLE shop_order")
        self._thread = threading.Thread(target=site.get, args=("/orders/",))
        self._thread.start()

    def end(self) -> None:
        self._locker.close()
        self._thread.join(30)


@pytest.fixture
def sleeper(site: Site, cluster: Cluster, opened: Open) -> Iterator[Callable[[], Sleeper]]:
    """Makes one, which has ended with the test."""
    made: list[Sleeper] = []

    def make() -> Sleeper:
        made.append(Sleeper(site, cluster.url))
        return made[-1]

    yield make
    for one in made:
        one.end()


def text_of(page: Any) -> str:
    return " ".join(page.inner_text("main").split())


def test_leases_appear_and_disappear_as_requests_run(opened: Open, sleeper: Sleepers) -> None:
    page = opened()
    assert "No connection is leased." in text_of(page)
    asleep = sleeper()
    page.wait_for_selector("td:has-text('GET /orders/')", timeout=10_000)
    assert "of 4: 1 leased" in text_of(page)
    held = page.inner_text("tbody td.number >> nth=0")
    await_that(lambda: page.inner_text("tbody td.number >> nth=0") != held)
    asleep.end()
    page.wait_for_selector("text=No connection is leased.", timeout=10_000)


def test_recycling_from_the_page_closes_the_idle_connections(
    opened: Open, site: Site, server: Server
) -> None:
    site.get("/orders/")
    before = server.backends()
    assert before
    page = opened()
    page.click("nav[aria-label^='Pool default'] >> text=Recycle")
    assert page.inner_text("h1").startswith("Recycle default of process")
    page.click("button:has-text('Recycle')")
    page.wait_for_url("**/connmgr/")
    await_that(lambda: not before & server.backends())
    page.wait_for_selector("td:has-text('recycled')")


def test_the_page_holds_no_connection(opened: Open, site: Site, server: Server) -> None:
    page = opened()
    page.goto(f"{site.url}/connmgr/do/?deed=recycle")
    page.click("button")
    await_that(lambda: not server.backends())
    page.wait_for_timeout(2500)  # It has refreshed itself meanwhile.
    assert not server.backends()


def test_it_works_without_a_script(opened: Open, sleeper: Sleepers) -> None:
    page = opened(java_script_enabled=False)
    assert page.is_hidden("#pause")
    asleep = sleeper()
    deadline = time.monotonic() + 10
    while "GET /orders/" not in text_of(page):
        assert time.monotonic() < deadline
        page.click("text=Refresh")
    asleep.end()
    page.click("nav[aria-label^='Pool default'] >> text=Suspend")
    page.click("button:has-text('Suspend')")
    assert "suspended" in text_of(page)
    page.click("nav[aria-label^='Pool default'] >> text=Resume")
    page.click("button:has-text('Resume')")
    assert page.locator(".status").count() == 0


def test_it_can_be_paused_and_keeps_the_focus(opened: Open, sleeper: Sleepers) -> None:
    page = opened()
    link = page.locator("nav[aria-label^='Pool default'] >> text=Recycle")
    link.focus()
    asleep = sleeper()
    page.wait_for_selector("td:has-text('GET /orders/')", timeout=10_000)
    assert page.evaluate("document.activeElement.innerText") == "Recycle"
    page.click("#pause")
    assert page.get_attribute("#pause", "aria-pressed") == "true"
    asleep.end()
    page.wait_for_timeout(2500)
    assert "GET /orders/" in text_of(page)
    page.click("#pause")
    page.wait_for_selector("text=No connection is leased.", timeout=10_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen_in_light_and_dark(
    opened: Open, sleeper: Sleepers, scheme: str
) -> None:
    asleep = sleeper()
    page = opened(viewport={"width": 360, "height": 800}, color_scheme=scheme)
    page.wait_for_selector("td:has-text('GET /orders/')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    if directory := os.environ.get("CONNMGR_TEST_PICTURES"):
        pictures = Path(directory)
        (pictures / f"narrow-{scheme}.png").write_bytes(page.screenshot(full_page=True))
        page.set_viewport_size({"width": 1200, "height": 800})
        (pictures / f"wide-{scheme}.png").write_bytes(page.screenshot(full_page=True))
    asleep.end()
