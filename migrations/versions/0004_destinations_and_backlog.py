"""What all workers know of a destination; fresh work before backlog; causes of failures.

Revision ID: 0004
Revises: 0003

The indexes by which these are found come with the next one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

Time = sa.DateTime(timezone=True)
TABLES = ("work", "deliveries")


def upgrade() -> None:
    _create_destination_states()
    for table in TABLES:
        op.add_column(table, sa.Column("last_failed_at", Time, comment="when the last try failed"))
        op.add_column(
            table,
            sa.Column(
                "cause",
                sa.String(200),
                server_default="",
                nullable=False,
                comment="the same without what is true of this study alone",
            ),
        )
        op.add_column(
            table,
            sa.Column(
                "backlog",
                sa.Boolean,
                server_default=sa.false(),
                nullable=False,
                comment="whether it failed or was put back: fresh work goes first",
            ),
        )


def _create_destination_states() -> None:
    op.create_table(
        "destination_states",
        sa.Column(
            "destination",
            sa.String(64),
            nullable=False,
            comment="name of the destination in intu.yaml",
        ),
        sa.Column("paused_at", Time, comment="since when nothing is sent to it; null = not paused"),
        sa.Column(
            "paused_by", sa.String(64), server_default="", nullable=False, comment="who paused it"
        ),
        sa.Column(
            "pause_reason",
            sa.Text,
            server_default="",
            nullable=False,
            comment="why, in the words of who paused it",
        ),
        sa.Column(
            "breaker",
            sa.String(16),
            server_default="closed",
            nullable=False,
            comment="closed, open (it does not answer: only probes go out) or half_open (it "
            "answers again, and gets more and more)",
        ),
        sa.Column(
            "silences",
            sa.Integer,
            server_default="0",
            nullable=False,
            comment="deliveries in a row that did not reach it",
        ),
        sa.Column("opened_at", Time, comment="when the breaker opened"),
        sa.Column("next_probe_at", Time, comment="when one delivery tries whether it answers"),
        sa.Column(
            "probes",
            sa.Integer,
            server_default="0",
            nullable=False,
            comment="probes since the breaker opened",
        ),
        sa.Column(
            "allowed",
            sa.Integer,
            comment="studies on their way at the same time while it recovers; null = as configured",
        ),
        sa.Column("free_at", Time, comment="when its rate limit lets the next study go"),
        sa.Column(
            "last_error",
            sa.Text,
            server_default="",
            nullable=False,
            comment="why it was not reached the last time",
        ),
        sa.Column("updated_at", Time, nullable=False, comment="when the row last changed"),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_destination_states")),
        comment="One row per destination that was paused, was not reached, or has a rate limit.",
    )


def downgrade() -> None:
    for table in TABLES:
        for column in ("backlog", "cause", "last_failed_at"):
            op.drop_column(table, column)
    op.drop_table("destination_states")
