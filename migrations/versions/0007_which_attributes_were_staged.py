"""Which list of attributes an instance was staged by.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    # Rows from before know no list, so what they lack is looked for in their complete headers.
    op.add_column(
        "instances",
        sa.Column(
            "staged_by",
            sa.String(16),
            nullable=False,
            server_default="",
            comment="which list of attributes was staged then, as a digest",
        ),
    )


def downgrade() -> None:
    op.drop_column("instances", "staged_by")
