"""Indexes by which a search follows the order of dates, and finds what an id begins with.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from intu_fhir.db import online

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None

_IDENTIFIERS = ("patient_id", "accession_number")


def upgrade() -> None:
    online.create_index("ix_studies_study_date", "studies", ["study_date", "study_key"])
    for name in _IDENTIFIERS:
        # In PostgreSQL only this class of operators serves LIKE, whatever the database's collation.
        online.create_index(
            f"ix_studies_{name}", "studies", [name], postgresql_ops={name: "text_pattern_ops"}
        )


def downgrade() -> None:
    for name in _IDENTIFIERS:
        online.create_index(f"ix_studies_{name}", "studies", [name])
    online.create_index("ix_studies_study_date", "studies", ["study_date"])
