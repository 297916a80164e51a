"""Rows one below the other, a line for each value, where a screen is too narrow for a table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from intu_fhir.cli.text import clean

INDENT, GAP = 2, 2
MOST_LINES = 5
"""Most lines of a value: a resource in JSON would push away all others."""


def show_records(console: Console, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows one below the other; what does not fit beside its name stands below it."""
    titles = [clean(name) for name in names]
    width = max(map(cell_len, titles), default=0)
    for number, row in enumerate(rows, start=1):
        _print(console, Text(f"row {number}", style="bold"))
        for title, value in zip(titles, row, strict=True):
            _show_value(console, title, clean(value), width)


def _show_value(console: Console, title: str, text: str, width: int) -> None:
    begin = " " * INDENT + title
    if INDENT + width + GAP + cell_len(text) <= console.width:
        gap = " " * (width - cell_len(title) + GAP)
        _print(console, Text(f"{begin}{gap}{text}".rstrip()))
        return
    _print(console, Text(begin))
    for line in _lines(text, console.width - 2 * INDENT):
        _print(console, Text(" " * 2 * INDENT + line))


def _lines(text: str, room: int) -> list[str]:
    lines = textwrap.wrap(text, max(1, room), break_on_hyphens=False)
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], "…"]


def _print(console: Console, text: Text) -> None:
    console.print(text, no_wrap=True, crop=False, overflow="ignore", highlight=False)
