"""What was measured, as Markdown."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from tests.benchmarks.rates import Rates
from tests.benchmarks.receivers import Receiver
from tests.support.databases import postgresql_program
from tests.support.programs import find


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rates_table(rates: Rates, receivers: Sequence[Receiver], columns: Sequence[object]) -> str:
    """Return the middle rate of every receiver in every column."""
    rows = [
        [one.name, one.durable, *(f"{rates.median(one.name, c):,.0f}" for c in columns)]
        for one in receivers
    ]
    return table(["receiver", "on disk when Success is answered", *map(str, columns)], rows)


def ratios_table(
    rates: Rates, pairs: Sequence[tuple[Receiver, Receiver]], columns: Sequence[object]
) -> str:
    """Return how many times the first of each pair does what the second does."""
    rows = [
        [
            f"{one.name} : {other.name}",
            *(f"{rates.ratio(one.name, other.name, c):.2f}" for c in columns),
        ]
        for one, other in pairs
    ]
    return table(["ratio, middle of the rounds", *map(str, columns)], rows)


def page(title: str, parts: Sequence[str], old: str = "") -> str:
    """Return a page of parts that begin with a heading each.

    Args:
        old: the page so far; its parts stay where no new one has their heading.
    """
    sections = {_heading(part): part.strip() for part in re.split(r"(?m)^(?=## )", old)[1:]}
    sections |= {_heading(part): part for part in parts}
    return "\n\n".join((f"# {title}", f"{ground()}.", *sections.values())) + "\n"


def _heading(part: str) -> str:
    return part.partition("\n")[0]


def ground() -> str:
    """Name what it ran on, without the machine's name."""
    parts = [
        f"{os.cpu_count()} processor cores",
        f"{platform.system()} {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        f"pynetdicom {version('pynetdicom')}",
        _of_program("DCMTK", "storescp", r"v([\d.]+)"),
        _of_program("Orthanc", "Orthanc", r"([\d.]{4,})"),
        _of_program("PostgreSQL", postgresql_program("postgres"), r"([\d.]+)"),
    ]
    return ", ".join(part for part in parts if part)


def _of_program(name: str, program: str, pattern: str) -> str:
    path = find(program)
    if path is None:
        return ""
    said = subprocess.run(
        [path, "--version"], check=True, capture_output=True, text=True, timeout=30
    ).stdout
    found = re.search(pattern, said)
    return f"{name} {found[1]}" if found else ""
