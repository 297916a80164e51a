"""What is to be removed from the file store."""

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
