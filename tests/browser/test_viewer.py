"""A viewer of others opens staged studies by DICOMweb, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, Response
from pydicom.data import get_testdata_file

from tests.support.browser import PICTURES, chromium
from tests.support.images import PATH, serving_images
from tests.support.ports import free_port
from tests.support.viewer import SOFTWARE_GRAPHICS, require_viewer, viewer
from tests.support.waiting import wait_until

NATIVE, JPEG, JPEG_2000 = "CT_small.dcm", "examples_ybr_color.dcm", "examples_jpeg2k.dcm"
SIDE = 64
ALIKE = 0.9
"""Correlation of what the viewer draws with the pixels; another image is below 0.5."""


@dataclass
class Opened:
    """The viewer's page."""

    page: Page
    url: str
    service: str


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """A Chromium that draws three dimensions without a graphics card: that takes most of a core."""
    with chromium(playwright, *SOFTWARE_GRAPHICS) as one:
        yield one


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Opened]:
    """OHIF on a host of its own, and a service that allows it."""
    require_viewer()
    folder, port = tmp_path_factory.mktemp("viewer"), free_port()
    files = [_path(name) for name in (NATIVE, JPEG, JPEG_2000)]
    database = f"sqlite:///{folder}/staging.db"
    allowed = {"allowed_origins": [f"http://127.0.0.1:{port}"]}
    with (
        serving_images(folder, database, files, dicomweb=allowed) as served,
        viewer(port, served.url + PATH) as url,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        yield Opened(page, url, served.url + PATH)
        page.close()


def _path(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [NATIVE, JPEG, JPEG_2000])
def test_ohif_shows_a_staged_study(opened: Opened, name: str) -> None:
    """OHIF opens a study and draws its pixels, whether they came native or compressed."""
    dataset, page = pydicom.dcmread(_path(name)), opened.page
    refused: list[str] = []

    def look(answer: Response) -> None:
        if answer.url.startswith(opened.service) and answer.status >= 400:
            refused.append(f"{answer.status} {answer.url}")

    page.on("response", look)
    page.goto(f"{opened.url}/viewer?StudyInstanceUIDs={dataset.StudyInstanceUID}")
    page.wait_for_selector("canvas", timeout=120_000)
    wanted = _gray(dataset)
    wait_until(lambda: _skip_tour(page) and _likeness(page, wanted) > ALIKE, 120, "the image")
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"viewer-{Path(name).stem}.png")
    page.remove_listener("response", look)
    assert refused == []


def _skip_tour(page: Page) -> bool:
    skip = page.get_by_text("Skip all")
    if skip.count():
        skip.first.click()
    return True


def _gray(dataset: pydicom.Dataset) -> Image.Image:
    """Return the first frame, from its darkest to its brightest value."""
    values = dataset.pixel_array.astype("float32")
    values = values[0] if int(dataset.get("NumberOfFrames", 1)) > 1 else values
    values = values[..., 0] if dataset.SamplesPerPixel > 1 else values
    low, high = values.min(), values.max()
    return Image.fromarray(((values - low) / (high - low) * 255).astype("uint8"))


def _shades(picture: Image.Image) -> np.ndarray:
    """Return a picture as few shades."""
    found: np.ndarray = np.asarray(picture.convert("L").resize((SIDE, SIDE)), dtype="float32")
    return found


def _likeness(page: Page, wanted: Image.Image) -> float:
    """Return the correlation of the frame with what is drawn in the middle of the canvas."""
    drawn = Image.open(BytesIO(page.locator("canvas").first.screenshot()))
    scale = min(drawn.width / wanted.width, drawn.height / wanted.height)
    width, height = int(wanted.width * scale), int(wanted.height * scale)
    left, top = (drawn.width - width) // 2, (drawn.height - height) // 2
    seen = _shades(drawn.crop((left, top, left + width, top + height)))
    if not seen.std():
        return 0.0
    return float(np.corrcoef(seen.ravel(), _shades(wanted).ravel())[0, 1])
