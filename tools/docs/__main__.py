"""``python -m tools.docs`` writes every generated page anew."""

from __future__ import annotations

import sys

from tools.docs.pages import PAGES, REPOSITORY


def main() -> None:
    """Write the pages that have changed and name them."""
    for path, page in PAGES.items():
        target = REPOSITORY / path
        text = page()
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path}\n")


main()
