"""Query results on a terminal, and as files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from intu_fhir.app.exporting import WRITERS as WRITERS
from intu_fhir.app.exporting import Rows, readable
from intu_fhir.cli.table import Column, show_table


def write_table(columns: Sequence[str], rows: Rows, console: Console) -> None:
    """Show rows on a terminal."""
    shown: list[Column[tuple[Any, ...]]] = [
        Column(name, _cell(index), shrinks=True, right=_all_numbers(rows, index))
        for index, name in enumerate(columns)
    ]
    show_table(console, rows, shown)


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
