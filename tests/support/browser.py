"""A real Chromium that looks at our pages, and keeps what it saw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, Playwright

from tests.support.programs import find, missing

PICTURES = Path(__file__).parents[2] / "build-output" / "screenshots"
"""Where pictures are kept; the gate's runner may keep the folder."""

Look = Literal["light", "dark", "narrow"]
_LOOKS: dict[Look, tuple[int, Literal["light", "dark"]]] = {
    "light": (1280, "light"),
    "dark": (1280, "dark"),
    "narrow": (390, "light"),
}

_OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  const out = document.scrollingElement.scrollWidth > width;
  return out ? [...document.querySelectorAll("body *")]
    .filter((e) => e.getBoundingClientRect().right > width + 1 && !e.closest(".scroll, pre, svg"))
    .slice(0, 5).map((e) => e.outerHTML.slice(0, 120)) : [];
}"""


@contextmanager
def chromium(playwright: Playwright, *flags: str) -> Iterator[Browser]:
    """Start the system's Chromium, or skip the test."""
    program = find("chromium") or find("chromium-browser") or find("google-chrome")
    if program is None:
        missing("Chromium")
    browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *flags])
    try:
        yield browser
    finally:
        browser.close()


@dataclass
class Watch:
    """One page and all that went wrong in it: errors of scripts, dialogs, what the CSP stopped."""

    page: Page
    url: str
    troubles: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Open a page of ours and wait until it stands."""
        self.page.goto(self.url + path, wait_until="load")
        return self.page

    def picture(self, name: str, look: Look = "light") -> None:
        """Keep a picture; a page that is wider than its window is wrong."""
        width, scheme = _LOOKS[look]
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_viewport_size({"width": width, "height": 900})
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}-{look}.png", full_page=True)
        wide: Any = self.page.evaluate(_OVERFLOW)
        assert not wide, f"{name} is wider than {width} px: {wide}"


@contextmanager
def watch(browser: Browser, url: str) -> Iterator[Watch]:
    """Open a window of its own; whatever a page does that it should not fails the test."""
    context = browser.new_context(locale="en-GB", timezone_id="UTC", accept_downloads=True)
    context.set_default_timeout(20_000)
    page = context.new_page()
    seen = Watch(page, url)
    page.on("pageerror", lambda error: seen.troubles.append(f"script: {error}"))
    page.on("dialog", lambda dialog: _dismiss(seen, dialog))
    page.on("console", lambda one: _console(seen, one.type, one.text))
    try:
        yield seen
    finally:
        context.close()
    assert not seen.troubles, seen.troubles


def _dismiss(seen: Watch, dialog: Any) -> None:
    seen.troubles.append(f"dialog: {dialog.message}")
    dialog.dismiss()


def _console(seen: Watch, kind: str, text: str) -> None:
    """Take errors; the browser's own lines about statuses that a test asks for are none."""
    if kind == "error" and not re.search(r"status of (40[0-9]|42[0-9])", text):
        seen.troubles.append(f"console: {text}")
