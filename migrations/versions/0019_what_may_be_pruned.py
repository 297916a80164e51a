"""Index of studies that still have files, in the order in which they are pruned.

A run went over every study that was pruned before it, at each look.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa

from intu_fhir.db import online

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    has_files = sa.text("number_of_instances > number_of_pruned")
    online.create_index(
        "ix_studies_unpruned",
        "studies",
        ["last_received_at", "study_key"],
        sqlite_where=has_files,
        postgresql_where=has_files,
    )


def downgrade() -> None:
    online.drop_index("ix_studies_unpruned", "studies")
