"""What a command that removes things would remove, as its ``--dry-run`` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from intu_fhir.cli.program import console, print_json, say
from intu_fhir.cli.table import Column, show_table

_MOST = 50

_Row = TypeVar("_Row")


def show_what_would_go(
    found: list[_Row], columns: Sequence[Column[_Row]], counted: str, *, wants_json: bool
) -> None:
    """Show the first of what was found and how much would go, or all of it as JSON."""
    if wants_json:
        print_json(found)
        return
    if found:
        show_table(console(), found[:_MOST], columns)
    if len(found) > _MOST:
        say(f"... and {len(found) - _MOST} more; --json names all")
    say(f"{counted} would go.")
