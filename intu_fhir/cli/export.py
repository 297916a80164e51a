"""Query results on a terminal, and as files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from intu_fhir.app.exporting import WRITERS as WRITERS
from intu_fhir.app.exporting import Rows, readable
from intu_fhir.cli.records import show_records
from intu_fhir.cli.table import Column, natural_width, show_table


def write_table(columns: Sequence[str], rows: Rows, console: Console) -> None:
    """Show rows on a terminal: as a table where it fits, otherwise one below the other.

    A table that is cut would not show UIDs and times whole.
    """
    shown: list[Column[tuple[Any, ...]]] = [
        Column(name, _cell(index), right=_all_numbers(rows, index))
        for index, name in enumerate(columns)
    ]
    if not console.is_terminal or natural_width(rows, shown) <= console.width:
        show_table(console, rows, shown)
    else:
        show_records(console, columns, [[column.value(row) for column in shown] for row in rows])


def _cell(index: int) -> Callable[[tuple[Any, ...]], object]:
    return lambda row: "" if row[index] is None else readable(row[index])


def _all_numbers(rows: Rows, index: int) -> bool:
    return bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)


def write_bytes(data: bytes, output: Path | None) -> None:
    """Write to a file, or to where the output goes."""
    if output is not None:
        output.write_bytes(data)
        return
    stream = sys.stdout.buffer
    stream.write(data)
    stream.flush()
