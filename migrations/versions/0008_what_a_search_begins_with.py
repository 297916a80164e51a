"""Indexes by which studies are found: the beginning of a name, the modality, the sender.

And by which deliveries are found that wait for another one of their study.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa

from intu_fhir.db import online

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

NAME = "ix_studies_patient_name"


def upgrade() -> None:
    # In PostgreSQL only this class of operators serves LIKE, whatever the database's collation.
    online.create_index(
        NAME,
        "studies",
        [sa.func.lower(sa.literal_column("patient_name")).label("name")],
        postgresql_ops={"name": "text_pattern_ops"},
    )

    online.create_index("ix_series_modality", "series", ["modality", "study_key"])
    online.create_index("ix_associations_calling_ae_title", "associations", ["calling_ae_title"])
    waits = sa.text("follows <> ''")
    online.create_index(
        "ix_deliveries_follows",
        "deliveries",
        ["study_key"],
        sqlite_where=waits,
        postgresql_where=waits,
    )


def downgrade() -> None:
    online.drop_index("ix_deliveries_follows", "deliveries")
    online.drop_index("ix_associations_calling_ae_title", "associations")
    online.drop_index("ix_series_modality", "series")
    online.drop_index(NAME, "studies")
