"""Index of instances by when they came, for pages and gauges that count the last hour or day.

An association counts what it brought when it ends, and one may last for hours.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

from intu_fhir.db import online

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    online.create_index("ix_instances_received_at", "instances", ["received_at"])


def downgrade() -> None:
    online.drop_index("ix_instances_received_at", "instances")
