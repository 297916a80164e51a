"""Index of the requests for storage commitment that ended, which are summed up once a minute.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

import sqlalchemy as sa

from intu_fhir.db import online

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | None = None
depends_on: str | None = None

_NAME, _TABLE = "ix_storage_commitments_ended", "storage_commitments"


def upgrade() -> None:
    ended = sa.text("due_at IS NULL")
    columns = ["asked_at", "number_of_instances"]
    online.create_index(_NAME, _TABLE, columns, sqlite_where=ended, postgresql_where=ended)


def downgrade() -> None:
    online.drop_index(_NAME, _TABLE)
