"""Which instances a PACS got in another transfer syntax than the one they are stored in.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column(
        "instance_deliveries",
        sa.Column(
            "transcoded_to",
            sa.String(64),
            nullable=False,
            server_default="",
            comment="Transfer Syntax UID it was sent in; empty = the one it is stored in",
        ),
    )


def downgrade() -> None:
    op.drop_column("instance_deliveries", "transcoded_to")
