"""Which folder is the file store, and what is to be removed from it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Table

from intu_fhir.db.kinds import moment
from intu_fhir.db.metadata import metadata

removals = Table(
    "removals",
    metadata,
    Column("file", sa.Text, primary_key=True, comment="path below the file store"),
    moment("asked_at", "when its instance was pruned"),
    comment="One row per file of a pruned instance that is still to be removed.",
)

file_stores = Table(
    "file_stores",
    metadata,
    Column("place", sa.String(16), primary_key=True, comment="always files"),
    Column("mark", sa.String(32), nullable=False, comment="what its file file-store says"),
    comment="One row: the folder of the files, known by its mark; none before the first start.",
)
