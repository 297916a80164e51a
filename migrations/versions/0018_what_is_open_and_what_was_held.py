"""Indexes of associations without an end, by receiver, and of all holds of a study.

A receiver closes at its start what it left open, and each build looks at the holds of its study;
both read a whole table before.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa

from intu_fhir.db import online

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    is_open = sa.text("ended_at IS NULL")
    online.create_index(
        "ix_associations_open",
        "associations",
        ["receiver"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    online.create_index("ix_holds_study_key", "holds", ["study_key", "destination"])


def downgrade() -> None:
    online.drop_index("ix_holds_study_key", "holds")
    online.drop_index("ix_associations_open", "associations")
