"""Which programs may run on the schema as it is."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Table

from intu_fhir.db.metadata import metadata

schema_versions = Table(
    "schema_versions",
    metadata,
    sa.Column(
        "runs_from",
        sa.String(32),
        primary_key=True,
        comment="newest revision that the oldest program knows which may run on this schema",
    ),
    comment="One row: which versions of the program may run beside the newest one.",
)
