"""Markdown, as the generated pages use it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by `make docs` from the code; change the code, not this page. -->"


def page(title: str, *parts: str) -> str:
    """Return a page of paragraphs, tables and sections."""
    return "\n\n".join((GENERATED, f"# {title}", *parts)) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; bars inside of cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def code(text: object) -> str:
    """Return inline code, or nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
