"""Index by which the notes of a study are found that reject some of its images.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa

from intu_fhir.db import online

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | None = None
depends_on: str | None = None

NAME = "ix_instances_key_objects"
_IS_SELECTION = sa.text("sop_class_uid = '1.2.840.10008.5.1.4.1.1.88.59'")


def upgrade() -> None:
    online.create_index(
        NAME,
        "instances",
        ["study_key"],
        sqlite_where=_IS_SELECTION,
        postgresql_where=_IS_SELECTION,
    )


def downgrade() -> None:
    online.drop_index(NAME, "instances")
