"""Indexes by time and by failure, for pages and claims, and of files that are damaged.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa

from intu_fhir.db import online

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

_LANES = {"work": "step", "deliveries": "destination"}
_BY_TIME = (
    ("ix_generations_settled_at", "generations", "settled_at"),
    ("ix_resources_built_at", "resources", "built_at"),
    ("ix_attempts_ended_at", "attempts", "ended_at"),
    ("ix_quarantine_received_at", "quarantine", "received_at"),
)


def upgrade() -> None:
    _some("ix_instances_damaged", "instances", ["instance_key"], "damaged_at IS NOT NULL")
    for table, lane in _LANES.items():
        _due(table, [lane, "backlog", "due_at"])
        _some(f"ix_{table}_leased", table, [lane, "lease_until"], "lease_until IS NOT NULL")
    online.create_index("ix_deliveries_state", "deliveries", ["state", "destination", "cause"])
    online.create_index("ix_deliveries_delivered_at", "deliveries", ["destination", "delivered_at"])
    for name, table, column in _BY_TIME:
        online.create_index(name, table, [column])
    _some("ix_work_dead", "work", ["step"], "state = 'dead'")


def downgrade() -> None:
    online.drop_index("ix_work_dead", "work")
    for name, table, _ in reversed(_BY_TIME):
        online.drop_index(name, table)
    online.drop_index("ix_deliveries_delivered_at", "deliveries")
    online.create_index("ix_deliveries_state", "deliveries", ["state", "destination"])
    for table, lane in _LANES.items():
        online.drop_index(f"ix_{table}_leased", table)
        _due(table, [lane, "due_at"])
    online.drop_index("ix_instances_damaged", "instances")


def _due(table: str, columns: list[str]) -> None:
    _some(f"ix_{table}_due", table, columns, "due_at IS NOT NULL")


def _some(name: str, table: str, columns: list[str], which: str) -> None:
    rows = sa.text(which)
    online.create_index(name, table, columns, sqlite_where=rows, postgresql_where=rows)
