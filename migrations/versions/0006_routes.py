"""Why a delivery is left out or waits, and for whom.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column(
        "deliveries",
        sa.Column(
            "reason",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="why the study is left out here, or what is waited for",
        ),
    )
    op.add_column(
        "deliveries",
        sa.Column(
            "follows",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="destination that has to have the study first, while it has not",
        ),
    )


def downgrade() -> None:
    op.drop_column("deliveries", "follows")
    op.drop_column("deliveries", "reason")
