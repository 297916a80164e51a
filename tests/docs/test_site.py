"""The site of the documentation builds, whole and without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.docs.pages import REPOSITORY, pages
from tools.docs.site import SCREENSHOTS


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests in a browser have pictured here, and one picture where none has run."""
    folder = tmp_path_factory.mktemp("pictures")
    for picture in SCREENSHOTS.glob("*.png"):
        shutil.copy(picture, folder)
    Image.new("RGB", (2, 2)).save(folder / "a-page-at-night.png")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """The site, built strictly: a warning is a failure."""
    folder = tmp_path_factory.mktemp("site")
    laid_out = [sys.executable, "-m", "tools.docs.site", str(pictures)]
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    for call in (laid_out, build):
        done = subprocess.run(
            call, check=False, capture_output=True, text=True, cwd=REPOSITORY, timeout=110
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_on_the_site(site: Path) -> None:
    """Each page that people read is one of the site, and can be reached from its first page."""
    first = (site / "index.html").read_text(encoding="utf-8")
    for page in pages():
        path = page.relative_to(REPOSITORY)
        is_first = path.name == "README.md"
        html = (path.with_name("index.html") if is_first else path.with_suffix(".html")).as_posix()
        assert (site / html).is_file(), html
        assert html == "index.html" or f'href="{html}"' in first, html


def test_what_tests_have_pictured_is_shown(site: Path, pictures: Path) -> None:
    """Each picture stands on a page for them, as it was taken, with its name."""
    folder = site / "docs" / "screenshots"
    page = (folder / "index.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img alt="([^"]+)" src="([^"]+)"', page)
    assert shown == [(one.stem, one.name) for one in sorted(pictures.iterdir())]
    for one in pictures.iterdir():
        assert (folder / one.name).read_bytes() == one.read_bytes()
    first = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="docs/screenshots/index.html"' in first


def test_it_asks_no_other_server(site: Path) -> None:
    """No script, style, font or picture comes from elsewhere: it works without a way out."""
    foreign = re.compile(r'<(?:script|img|link rel="(?:stylesheet|preconnect)")[^>]+https?://')
    for page in site.rglob("*.html"):
        assert not foreign.search(page.read_text(encoding="utf-8")), page
