"""The tables and views of the staging database, for whoever writes queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import intu_fhir.db.tables  # noqa: F401  (puts all tables into the metadata)
from intu_fhir.db.metadata import metadata
from intu_fhir.db.views import VIEWS


@dataclass(frozen=True, slots=True)
class Described:
    """One table or view; ``columns`` are pairs of name and meaning."""

    name: str
    meaning: str
    columns: Sequence[tuple[str, str]]


def views() -> list[Described]:
    """Return the views, which stay as they are."""
    return [Described(view.name, view.row, tuple(view.columns.items())) for view in VIEWS]


def tables() -> list[Described]:
    """Return the tables, ordered by name."""
    return [
        Described(
            table.name,
            table.comment or "",
            tuple((column.name, column.comment or "") for column in table.columns),
        )
        for _, table in sorted(metadata.tables.items())
    ]
