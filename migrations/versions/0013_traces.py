"""What joins the steps of a study in a trace: the span that led to each.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | None = None
depends_on: str | None = None

_ASKED = "span that asked for it (W3C traceparent), if traced"
_COMMENTS = {
    "associations": "its span (W3C traceparent), where it was traced",
    "work": _ASKED,
    "deliveries": _ASKED,
}


def upgrade() -> None:
    for table, comment in _COMMENTS.items():
        op.add_column(
            table,
            sa.Column(
                "trace_parent", sa.String(64), server_default="", nullable=False, comment=comment
            ),
        )


def downgrade() -> None:
    for table in _COMMENTS:
        op.drop_column(table, "trace_parent")
