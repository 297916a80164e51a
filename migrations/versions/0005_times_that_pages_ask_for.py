"""Indexes by time and by failure, for pages that look at the last hour or day.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

_BY_TIME = (
    ("ix_generations_settled_at", "generations", "settled_at"),
    ("ix_resources_built_at", "resources", "built_at"),
    ("ix_attempts_ended_at", "attempts", "ended_at"),
    ("ix_quarantine_received_at", "quarantine", "received_at"),
)
_IS_DEAD = sa.text("state = 'dead'")


def upgrade() -> None:
    for name, table, column in _BY_TIME:
        op.create_index(name, table, [column])
    op.create_index(
        "ix_work_dead", "work", ["step"], sqlite_where=_IS_DEAD, postgresql_where=_IS_DEAD
    )


def downgrade() -> None:
    op.drop_index("ix_work_dead", "work")
    for name, table, _ in reversed(_BY_TIME):
        op.drop_index(name, table)
