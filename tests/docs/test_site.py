"""The site builds without a warning, and nothing is missing from it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import django_connmgr
from django_connmgr import exceptions
from django_connmgr.management.commands.connmgr import Command as ConnMgr

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def build(to: Path, source: Path = DOCS) -> subprocess.CompletedProcess[str]:
    """What Sphinx says, for which warnings are errors."""
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", source, to],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    done = build(directory)
    assert done.returncode == 0, done.stderr
    return directory


def test_every_document_is_a_page_in_the_navigation(site: Path) -> None:
    """That it can be reached is Sphinx's to say: it warns of documents in no table of contents."""
    index = (site / "index.html").read_text()
    for document in DOCS.glob("*.md"):
        assert (site / f"{document.stem}.html").exists()
        if document.stem != "index":
            assert f'href="{document.stem}.html"' in index, document


def test_a_document_in_no_table_of_contents_and_a_broken_link_fail(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text((DOCS / "conf.py").read_text())
    (source / "index.md").write_text("# A\n\n[nowhere](nowhere.md#b)\n")
    (source / "lost.md").write_text("# B\n")
    done = build(tmp_path / "site", source)
    assert done.returncode != 0
    assert "lost.md" in done.stderr
    assert "nowhere" in done.stderr


def test_links_to_files_that_are_no_pages_lead_to_the_repository(site: Path) -> None:
    assert 'django-connmgr/blob/main/SECURITY.md"' in (site / "policy.html").read_text()
    for page in site.glob("*.html"):
        assert 'href="../' not in page.read_text(), page


def test_every_error_is_explained_and_nothing_else_is() -> None:
    defined = {
        name
        for name, kind in vars(exceptions).items()
        if inspect.isclass(kind) and kind.__module__ == exceptions.__name__
    }
    explained = re.findall(r"^\| `(\w+)` \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(defined)


def test_every_call_is_in_the_reference(site: Path) -> None:
    pages = "".join((site / f"{name}.html").read_text() for name in ("api", "errors", "options"))
    named = set(re.findall(r"\w+", pages))
    assert set(django_connmgr.__all__) - named == set()


def test_every_command_is_in_the_table() -> None:
    text = ConnMgr().create_parser("manage.py", "connmgr").format_help()
    (offered,) = {found for found in re.findall(r"\{([\w,-]+)\}", text) if "status" in found}
    told = re.findall(r"`(?:connmgr )?([\w-]+)`", (DOCS / "commands.md").read_text())
    assert set(offered.split(",")) - set(told) == set()


def test_the_changes_have_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[0] == django_connmgr.__version__


def test_the_workflow_runs_what_tox_runs() -> None:
    """Where the checkout has both: a copy of the tests has neither."""
    workflow, tox = ROOT / ".github" / "workflows" / "ci.yml", ROOT / "tox.ini"
    envs = re.search(r"^env_list =\n((?:    \S+\n)+)", tox.read_text(), re.MULTILINE)
    assert envs is not None
    matrix = re.findall(r"env: \"?([\w,-]+)\"?, python", workflow.read_text())
    assert sorted(",".join(matrix).split(",")) == sorted(envs[1].split())
