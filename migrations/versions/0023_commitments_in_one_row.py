"""Requests for storage commitment in one row each, looked at again when they are old.

Older programs know nothing of the state ``received`` and leave such requests to newer ones.

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | None = None
depends_on: str | None = None

_TABLE = "storage_commitments"
_STATES = "asked, checked, reported or unreported"


def _comment(text: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"COMMENT ON COLUMN {_TABLE}.state IS '{text}'")


def upgrade() -> None:
    _comment(f"received, {_STATES}")
    op.add_column(
        _TABLE,
        sa.Column(
            "packed",
            sa.LargeBinary(),
            nullable=True,
            comment="its instances, until they have rows of their own; of a repeat for good",
        ),
    )
    op.add_column(
        _TABLE,
        sa.Column(
            "digest",
            sa.String(64),
            nullable=False,
            server_default="",
            comment="of its instances; empty where an older version took it",
        ),
    )
    op.add_column(
        _TABLE,
        sa.Column(
            "reached",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="number of the last instance that is listed, then looked at",
        ),
    )
    op.add_column(
        _TABLE,
        sa.Column(
            "holds_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when its instances have to be looked at again before the result is told",
        ),
    )


def downgrade() -> None:
    # An older version never works on these; their requesters have to ask again.
    op.execute(
        "UPDATE storage_commitments SET state = 'unreported', due_at = NULL, "
        "last_error = 'taken by a newer version; ask again' WHERE state = 'received'"
    )
    for name in ("holds_until", "reached", "digest", "packed"):
        op.drop_column(_TABLE, name)
    _comment(_STATES)
