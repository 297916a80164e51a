"""``python -m tools.docs.site`` lays the pages out for ``mkdocs.yml``, where links expect them.

With a folder as argument it shows the pictures of that one.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.docs.pages import REPOSITORY

PAGES = REPOSITORY / "build-output" / "pages"
PARTS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "docs",
    "mappings",
    "deploy",
    "tests/benchmarks/results",
)
"""The pages, and what they link to: links lead to the same place as in the repository."""
SCREENSHOTS = REPOSITORY / "build-output" / "screenshots"
"""Where the tests in a browser leave their pictures; shown on the site where they are there."""


def main(screenshots: Path = SCREENSHOTS) -> None:
    """Lay the pages out anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for part in PARTS:
        source, target = REPOSITORY / part, PAGES / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    _show_screenshots(screenshots)


def _show_screenshots(screenshots: Path) -> None:
    pictures = sorted(screenshots.glob("*.png"))
    if not pictures:
        return
    folder = PAGES / "docs" / "screenshots"
    folder.mkdir()
    shown = ["# What the web page looks like", "", "Made by the tests in a real Chromium.", ""]
    for picture in pictures:
        shutil.copy(picture, folder)
        shown += [f"## {picture.stem}", "", f"![{picture.stem}]({picture.name})", ""]
    (folder / "index.md").write_text("\n".join(shown), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
