"""What PACS are asked to promise, and what they have promised.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | None = None
depends_on: str | None = None

Time = sa.DateTime(timezone=True)
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DUE = sa.text("due_at IS NOT NULL")

_NEW_COLUMNS = (
    (
        "deliveries",
        "commitment",
        sa.String(16),
        "",
        "the PACS's promise to keep it: asked, committed, refused or missing; empty = never asked "
        "for",
    ),
    (
        "deliveries",
        "committed_at",
        Time,
        None,
        "when the PACS had promised to keep all of it",
    ),
    (
        "deliveries",
        "committed_generation",
        sa.Integer(),
        "0",
        "newest generation that it has promised to keep",
    ),
    ("instance_deliveries", "committed_at", Time, None, "when the PACS promised to keep it"),
    (
        "instance_deliveries",
        "request_key",
        Key,
        None,
        "row of archive_commitments that last asked for it",
    ),
)

_STUDY = """SELECT d.destination, s.study_instance_uid, s.patient_id, s.accession_number,
    s.modalities, d.state, d.want AS wanted_generation, d.have AS delivered_generation,
    d.delivered_at,
    (SELECT count(*) FROM attempts t WHERE t.delivery_key = d.delivery_key) AS tries,
    d.attempts AS failed_tries, d.first_failed_at, d.due_at AS next_try_at, d.last_status,
    d.last_error, d.warning, d.server_id, d.server_version,
    (SELECT count(*) FROM instance_deliveries x
      WHERE x.delivery_key = d.delivery_key AND x.delivered) AS images_taken,
    (SELECT count(*) FROM instance_deliveries x
      WHERE x.delivery_key = d.delivery_key AND NOT x.delivered) AS images_refused"""
_COMMITMENT = """,
    d.commitment, d.committed_at,
    (SELECT count(*) FROM instance_deliveries x
      WHERE x.delivery_key = d.delivery_key AND x.committed_at IS NOT NULL) AS images_committed"""
_FROM = " FROM deliveries d JOIN studies s ON s.study_key = d.study_key"


def upgrade() -> None:
    for table, name, kind, default, comment in _NEW_COLUMNS:
        column = sa.Column(
            name, kind, server_default=default, nullable=default is None, comment=comment
        )
        op.add_column(table, column)
    op.create_table(
        "archive_commitments",
        sa.Column(
            "request_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column(
            "delivery_key", Key, nullable=False, comment="the delivery whose images it is about"
        ),
        sa.Column(
            "destination",
            sa.String(64),
            nullable=False,
            comment="name of the destination in intu.yaml",
        ),
        sa.Column(
            "transaction_uid", sa.String(64), nullable=False, comment="Transaction UID (0008,1195)"
        ),
        sa.Column(
            "state",
            sa.String(16),
            nullable=False,
            comment="planned, asking, asked, committed, failed, unanswered, rejected or dropped",
        ),
        sa.Column(
            "number",
            sa.Integer(),
            nullable=False,
            comment="try to get a promise for the same instances, from 1",
        ),
        sa.Column(
            "number_of_instances", sa.Integer(), nullable=False, comment="instances asked for"
        ),
        _count("failed", "of these, instances that the PACS does not promise to keep"),
        sa.Column("planned_at", Time, nullable=False, comment="when it was decided to ask"),
        sa.Column("asked_at", Time, comment="when the PACS took the request"),
        sa.Column("answered_at", Time, comment="when its result came"),
        sa.Column("due_at", Time, comment="when to work on it; null = it has ended"),
        _count("attempts", "tries to send it that did not reach the PACS"),
        sa.Column(
            "last_error",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="why it was not taken, not answered or not promised",
        ),
        sa.Column(
            "given_up",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="whether a person was asked instead of the PACS once more",
        ),
        _count("fence", "number of the claim; an older one can write nothing"),
        sa.ForeignKeyConstraint(
            ["delivery_key"],
            ["deliveries.delivery_key"],
            name="fk_archive_commitments_delivery_key_deliveries",
        ),
        sa.PrimaryKeyConstraint("request_key", name="pk_archive_commitments"),
        sa.UniqueConstraint("transaction_uid", name="uq_archive_commitments_transaction_uid"),
        comment="One row per request to a PACS to promise that it keeps images (PS3.4 annex J).",
    )
    op.create_index(
        "ix_archive_commitments_due",
        "archive_commitments",
        ["destination", "state", "due_at"],
        sqlite_where=DUE,
        postgresql_where=DUE,
    )
    op.create_index("ix_archive_commitments_delivery_key", "archive_commitments", ["delivery_key"])
    # Where a view can be replaced, whoever may read it still may.
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP VIEW v_deliveries")
        op.execute(f"CREATE VIEW v_deliveries AS {_STUDY}{_COMMITMENT}{_FROM}")
    else:
        op.execute(f"CREATE OR REPLACE VIEW v_deliveries AS {_STUDY}{_COMMITMENT}{_FROM}")


def downgrade() -> None:
    op.execute("DROP VIEW v_deliveries")
    op.execute(f"CREATE VIEW v_deliveries AS {_STUDY}{_FROM}")
    op.drop_index("ix_archive_commitments_delivery_key", "archive_commitments")
    op.drop_index("ix_archive_commitments_due", "archive_commitments")
    op.drop_table("archive_commitments")
    for table, name, *_ in reversed(_NEW_COLUMNS):
        op.drop_column(table, name)


def _count(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False, comment=comment)
