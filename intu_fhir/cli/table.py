"""Tables that fit the terminal, and plain aligned text where there is none.

A UID has up to 64 characters and must stay whole, to be copied; a reason must stay readable.
Such columns go below their row where the screen is too narrow for one line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from intu_fhir.cli.text import clean

R = TypeVar("R")

GAP = 2
READABLE = 14
NARROWEST = 6

STATE_STYLES = {
    "failed": "bold red",
    "dead": "bold red",
    "down": "bold red",
    "invalid": "bold red",
    "held": "yellow",
    "paused": "yellow",
    "failing": "yellow",
    "later": "yellow",
    "recovering": "yellow",
    "retrying": "yellow",
    "valid": "green",
    "delivered": "green",
    "done": "green",
    "up": "green",
    "filtered": "dim",
    "staged": "dim",
}


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column.

    Args:
        value: gives the text of a row.
        shrinks: may be cut where the screen is too narrow.
        optional: may be left out where it is narrower still.
        style: gives the style of a text.
        lines: most lines of a text that stands below its row.
    """

    title: str
    value: Callable[[R], object]
    shrinks: bool = False
    optional: bool = False
    right: bool = False
    style: Callable[[str], str] = lambda text: ""
    lines: int = 3


def state_style(state: str) -> str:
    """Return the colour of a state."""
    return STATE_STYLES.get(state, "cyan")


def show_table(
    console: Console,
    rows: Sequence[R],
    columns: Sequence[Column[R]],
    *,
    below: Sequence[Column[R]] = (),
) -> None:
    """Print rows as a table.

    Args:
        below: further columns that are not cut; they stand below each row where the screen is
            too narrow for all.
    """
    every = [*columns, *below]
    cells = [[clean(column.value(row)) for column in every] for row in rows]
    widths = _natural(every, cells)
    if not console.is_terminal:
        _show(console, every, cells, widths, len(every))
    elif not below or sum(widths) + GAP * (len(widths) - 1) <= console.width:
        _show(console, every, cells, _fit(every, widths, console.width), len(every))
    else:
        count = len(columns)
        _show(console, every, cells, _fit(columns, widths[:count], console.width), count)


def natural_width(rows: Sequence[R], columns: Sequence[Column[R]]) -> int:
    """Return how wide a screen has to be for a table in which nothing is cut."""
    widths = _natural(columns, [[clean(column.value(row)) for column in columns] for row in rows])
    return sum(widths) + GAP * (len(widths) - 1)


def _natural(columns: Sequence[Column[R]], cells: list[list[str]]) -> list[int]:
    return [
        max([cell_len(column.title), *(cell_len(line[index]) for line in cells)])
        for index, column in enumerate(columns)
    ]


def _fit(columns: Sequence[Column[R]], widths: Sequence[int], room: int) -> list[int]:
    """Return widths that fit; 0 leaves a column out.

    Columns shrink to what can still be read, then optional ones go, the last one first, and
    only then the others shrink further.
    """
    fitted = list(widths)
    _shrink(columns, fitted, room, READABLE)
    for index in reversed(range(len(columns))):
        if _excess(fitted, room) > 0 and columns[index].optional:
            fitted[index] = 0
    _shrink(columns, fitted, room, NARROWEST)
    _widen(fitted, widths, room)
    return fitted


def _shrink(columns: Sequence[Column[R]], fitted: list[int], room: int, least: int) -> None:
    """Take from the widest column that shrinks, as long as it is wider than ``least``."""
    shrinking = [index for index, column in enumerate(columns) if column.shrinks]
    while _excess(fitted, room) > 0 and shrinking:
        widest = max(shrinking, key=lambda index: fitted[index])
        if fitted[widest] <= least:
            return
        fitted[widest] -= 1


def _widen(fitted: list[int], widths: Sequence[int], room: int) -> None:
    """Give back the room that a column left, to the first that were cut."""
    for index, width in enumerate(widths):
        if fitted[index]:
            spare = max(0, -_excess(fitted, room))
            fitted[index] = min(width, fitted[index] + spare)


def _excess(widths: Sequence[int], room: int) -> int:
    shown = [width for width in widths if width]
    return sum(shown) + GAP * (len(shown) - 1) - room


def _show(
    console: Console,
    columns: Sequence[Column[R]],
    cells: list[list[str]],
    widths: list[int],
    in_line: int,
) -> None:
    """Print the first ``in_line`` columns side by side and the others below each row."""
    plain = not console.is_terminal
    side, further = columns[:in_line], columns[in_line:]
    _print(console, _line(side, [column.title for column in side], widths, ["bold"] * in_line))
    for texts in cells:
        styles = [
            "" if plain else column.style(text) for column, text in zip(side, texts, strict=False)
        ]
        _print(console, _line(side, texts[:in_line], widths, styles))
        for column, text in zip(further, texts[in_line:], strict=True):
            _show_below(console, column, text)


def _show_below(console: Console, column: Column[R], text: str) -> None:
    room = console.width - GAP
    # A UID stays one word, which the terminal may wrap and still lets one copy.
    wrapped = textwrap.wrap(
        text, room, max_lines=column.lines, placeholder=" …", break_long_words=False
    )
    for line in wrapped:
        _print(console, Text(" " * GAP + line, style="dim"))


def _print(console: Console, text: Text) -> None:
    console.print(text, no_wrap=True, crop=False, overflow="ignore", highlight=False)


def _line(
    columns: Sequence[Column[R]],
    texts: Sequence[str],
    widths: Sequence[int],
    styles: Sequence[str],
) -> Text:
    line = Text()
    for column, text, width, style in zip(columns, texts, widths, styles, strict=False):
        if not width:
            continue
        if line:
            line.append(" " * GAP)
        line.append(_cell(text, width, right=column.right), style=style)
    line.rstrip()
    return line


def _cell(text: str, width: int, *, right: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding
