"""Which programs may run on the schema: those of before go on beside a newer one.

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "schema_versions",
        sa.Column(
            "runs_from",
            sa.String(32),
            nullable=False,
            comment="newest revision that the oldest program knows which may run on this schema",
        ),
        sa.PrimaryKeyConstraint("runs_from", name=op.f("pk_schema_versions")),
        comment="One row: which versions of the program may run beside the newest one.",
    )
    op.execute("INSERT INTO schema_versions (runs_from) VALUES ('0021')")


def downgrade() -> None:
    op.drop_table("schema_versions")
