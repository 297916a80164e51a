"""Which folder is the file store of this database: one of another site is not taken for it.

Revision ID: 0025
Revises: 0024
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "file_stores",
        sa.Column("place", sa.String(16), nullable=False, comment="always files"),
        sa.Column("mark", sa.String(32), nullable=False, comment="what its file file-store says"),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_file_stores")),
        comment="One row: the folder of the files, known by its mark; none before the first start.",
    )


def downgrade() -> None:
    op.drop_table("file_stores")
