"""The ledger of files on their way to an object store.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("file", sa.Text(), nullable=False, comment="name in the spool and in the bucket"),
        sa.Column(
            "spool",
            sa.String(64),
            nullable=False,
            comment="name of the spool folder that has the bytes",
        ),
        sa.Column(
            "data_set_offset",
            sa.Integer(),
            nullable=False,
            comment="bytes in the file before the data set",
        ),
        sa.Column(
            "sha256",
            sa.String(64),
            nullable=False,
            comment="of the data set bytes, as received",
        ),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), nullable=False, comment="when to upload it"
        ),
        sa.Column(
            "attempts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="uploads that failed",
        ),
        sa.Column(
            "last_error",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="why the last one failed",
        ),
        sa.PrimaryKeyConstraint("file", name=op.f("pk_uploads")),
        comment="One row per file that the object store has not confirmed yet; without a row it "
        "has.",
    )
    op.create_index("ix_uploads_spool", "uploads", ["spool", "due_at"])


def downgrade() -> None:
    op.drop_index("ix_uploads_spool", table_name="uploads")
    op.drop_table("uploads")
