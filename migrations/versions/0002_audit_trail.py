"""The audit trail.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Time = sa.DateTime(timezone=True)
UNSEALED = sa.text("position IS NULL")


def words(name: str, length: int | None, comment: str | None) -> sa.Column[str]:
    kind = sa.String(length) if length else sa.Text()
    return sa.Column(name, kind, server_default="", nullable=False, comment=comment)


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column(
            "audit_event_key",
            Key,
            autoincrement=True,
            nullable=False,
            comment="made by the database",
        ),
        sa.Column("event_id", sa.String(36), nullable=False, comment="UUID of the event"),
        sa.Column("happened_at", Time, nullable=False, comment="when it happened"),
        sa.Column(
            "action",
            sa.String(32),
            nullable=False,
            comment="what was done, such as accepted or published",
        ),
        sa.Column(
            "outcome",
            sa.String(16),
            nullable=False,
            comment="success, minor, serious or major (failure)",
        ),
        words("actor", 128, "who: a login, an AE title or a process of ours"),
        sa.Column("actor_kind", sa.String(16), nullable=False, comment="person, device or program"),
        words("address", 64, "network address the actor came from"),
        words("study_instance_uid", 64, None),
        words("association_id", 32, "the association or import"),
        words("destination", 64, "name of the destination in intu.yaml"),
        sa.Column(
            "objects",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="how many instances, deliveries or rows it was about",
        ),
        words("reason", None, "why, or what the far side said"),
        sa.Column(
            "position",
            Key,
            nullable=True,
            comment="place in the chain, from 1; null = to be sealed within seconds",
        ),
        words("previous_hash", 64, "hash of the row before it in the chain"),
        words("hash", 64, "SHA-256 of this row and of previous_hash"),
        sa.PrimaryKeyConstraint("audit_event_key", name="pk_audit_events"),
        sa.UniqueConstraint("event_id", name="uq_audit_events_event_id"),
        sa.UniqueConstraint("position", name="uq_audit_events_position"),
        comment="Who did what and when; a chain of hashes shows what was changed or removed.",
    )
    op.create_index("ix_audit_events_happened_at", "audit_events", ["happened_at"])
    op.create_index("ix_audit_events_study_instance_uid", "audit_events", ["study_instance_uid"])
    op.create_index(
        "ix_audit_events_unsealed",
        "audit_events",
        ["audit_event_key"],
        sqlite_where=UNSEALED,
        postgresql_where=UNSEALED,
    )


def downgrade() -> None:
    op.drop_index(
        "ix_audit_events_unsealed",
        table_name="audit_events",
        sqlite_where=UNSEALED,
        postgresql_where=UNSEALED,
    )
    op.drop_index("ix_audit_events_study_instance_uid", table_name="audit_events")
    op.drop_index("ix_audit_events_happened_at", table_name="audit_events")
    op.drop_table("audit_events")
