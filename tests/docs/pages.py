"""The pages that people read, taken apart for the tests of this folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

_FENCE = re.compile(r"^( *)(`{3,})(\w*)[^\n]*\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+(?:\([^()\s]*\))?)(?: +\"[^\"]*\")?\)")
_CODE = re.compile(r"`[^`\n]+`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it begins on."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """Return every Markdown page of the repository that people read."""
    found = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("mappings/*.md")]
    found += (REPOSITORY / "docs").rglob("*.md")
    return sorted(found)


def name(page: Path) -> str:
    """Return the path of a page below the repository."""
    return page.relative_to(REPOSITORY).as_posix()


def read(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> Iterator[Block]:
    """Yield the fenced blocks of some languages, or of all."""
    for match in _FENCE.finditer(text):
        if not languages or match[3] in languages:
            yield Block(match[3], match[4], text.count("\n", 0, match.start()) + 1)


def prose(text: str) -> str:
    """Return the text without fenced blocks; lines keep their number."""
    return _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)


def links(text: str) -> list[str]:
    """Return the targets of all links."""
    return _LINK.findall(_CODE.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """Return what ``#...`` may lead to: headings as GitHub names them."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found
