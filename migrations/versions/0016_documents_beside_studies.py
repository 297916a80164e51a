"""The study as a document is a kind of what goes beside an ImagingStudy, and comments say so.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | None = None
depends_on: str | None = None

_KINDS = {
    "companions": "device, provenance, dose or measurements",
    "delivered_resources": "endpoint, device, provenance, dose or measurements",
}


def upgrade() -> None:
    more = " or measurements", ", measurements or document"
    _comment({table: text.replace(*more) for table, text in _KINDS.items()})


def downgrade() -> None:
    _comment(_KINDS)


def _comment(texts: dict[str, str]) -> None:
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        for table, text in texts.items():
            op.execute(f"COMMENT ON COLUMN {table}.kind IS '{text}'")
